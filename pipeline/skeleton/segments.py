"""Cut clips out of long recordings; the three conventions for the frame numbers of an interval."""

from dataclasses import replace
from typing import Literal

from pipeline.skeleton.recording import Recording

FrameIndex = Literal["0-exclusive", "0-inclusive", "1-inclusive"]
"""Number of the first frame, and whether the annotated end belongs to the interval.

The authors of PKU-MMD do not specify it. MAMP, CMD and ViewAdaptiveLSTM use [start, end) from 0,
Recover-and-Resample [start, end] from 0, AimCLR [start, end] from 1. Phase II has intervals that start at 0, so
counting from 1 cannot be right; of the other two, the default is the one in which neighbouring intervals never share a
frame.
"""
DEFAULT_FRAME_INDEX: FrameIndex = "0-exclusive"


def frame_range(start: int, end: int, convention: FrameIndex) -> tuple[int, int]:
    """Convert an annotated interval to a half-open one from 0; it may extend beyond the recording."""
    return (start - 1 if convention == "1-inclusive" else start), (end + 1 if convention == "0-inclusive" else end)


def cut_interval(recording: Recording, name: str, first: int, stop: int) -> tuple[Recording, int]:
    """Return frames [first, stop) of a recording as a new recording, as far as they exist.

    Returns:
        The new recording with frames renumbered from 0, and the number of frames of the interval that are outside.
    """
    begin, end = max(first, 0), max(min(stop, recording.frames), max(first, 0))
    low, high = recording.frame.searchsorted([begin, end])
    clip = replace(
        recording,
        name=name,
        frames=end - begin,
        frame=recording.frame[low:high] - begin,
        slot=recording.slot[low:high],
        body=recording.body[low:high],
        xyz=recording.xyz[low:high],
        tracking=recording.tracking[low:high],
        confidence=None if recording.confidence is None else recording.confidence[low:high],
    )
    return clip, (stop - first) - (end - begin)
