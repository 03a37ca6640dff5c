"""Joints that whatever found them is not sure of: made missing before anything else looks at them."""

from dataclasses import replace
from typing import Annotated

import numpy as np
from pydantic import Field

from pipeline.skeleton.recording import Recording


def drop_uncertain(recording: Recording, *, least: Annotated[float, Field(gt=0)] = 0.3) -> Recording:
    """Make joints missing whose confidence is too low; a body without any other is not in that frame.

    Args:
        recording: as it was read; one that does not say how sure its joints are is left as it is.
        least: the lowest confidence of a joint that stays; so does one of which nothing is said (NaN). OpenPose, MMPose
            and Ultralytics draw joints from 0.05, 0.3 and 0.5 on; MediaPipe's visibility is a probability, and Azure
            Kinect's joints out of sight ("low") have a third.
    """
    if recording.confidence is None:
        return recording
    out = recording.confidence < least
    if not out.any():
        return recording
    xyz = np.where(out[..., None], np.float32(0), recording.xyz)  # as text files have what is missing
    there = (np.isfinite(xyz) & (xyz != 0)).any(axis=(1, 2))
    return replace(
        recording,
        frame=recording.frame[there],
        slot=recording.slot[there],
        body=recording.body[there],
        xyz=xyz[there],
        tracking=recording.tracking[there],
        confidence=recording.confidence[there],
    )
