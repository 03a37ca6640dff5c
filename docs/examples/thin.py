"""Fewer frames a second, for sensors that are faster than the others."""

from typing import Annotated

from pydantic import Field

from pipeline.skeleton.recording import Clip


def every_nth(clip: Clip, *, n: Annotated[int, Field(ge=1)] = 2) -> Clip:
    """Keep every n-th frame, the first one first.

    Args:
        clip: any clip.
        n: 2 makes 15 frames a second of Kinect's 30.
    """
    return clip.after(clip.xyz[:, ::n].copy())
