"""Recipe step that removes joints of low confidence, before all other steps."""

from dataclasses import replace
from typing import Annotated

import numpy as np
from pydantic import Field

from pipeline.skeleton.recording import Recording


def drop_uncertain(recording: Recording, *, least: Annotated[float, Field(gt=0)] = 0.3) -> Recording:
    """Mark joints of low confidence as missing; a body without any other joint is removed from that frame.

    Args:
        recording: rows in file order; unchanged if it has no confidences.
        least: lowest confidence of a joint that is kept. A joint of unknown confidence (NaN) is kept, too. OpenPose,
            MMPose and Ultralytics draw joints from 0.05, 0.3 and 0.5 on; MediaPipe's visibility is a probability, and
            Azure Kinect's occluded joints ("low") have one third.
    """
    if recording.confidence is None:
        return recording
    uncertain = recording.confidence < least
    if not uncertain.any():
        return recording
    xyz = np.where(uncertain[..., None], np.float32(0), recording.xyz)  # a missing joint is zero, as in text files
    present = (np.isfinite(xyz) & (xyz != 0)).any(axis=(1, 2))
    return replace(
        recording,
        frame=recording.frame[present],
        slot=recording.slot[present],
        body=recording.body[present],
        xyz=xyz[present],
        tracking=recording.tracking[present],
        confidence=recording.confidence[present],
    )
