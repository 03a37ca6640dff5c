"""Clips cut out of long recordings, and the three ways in which people count the frames of an interval."""

from dataclasses import replace
from typing import Literal

from pipeline.skeleton.recording import Recording

FrameIndex = Literal["0-exclusive", "0-inclusive", "1-inclusive"]
"""Number of the first frame, and whether the end that an annotation names is still in the interval.

PKU-MMD's authors do not say. MAMP, CMD and ViewAdaptiveLSTM take [start, end) from 0, Recover-and-Resample [start, end]
from 0, AimCLR [start, end] from 1. Phase II has intervals that start at 0, so counting from 1 cannot be right; between
the other two, that whose neighbours never share a frame is the default.
"""
DEFAULT_FRAME_INDEX: FrameIndex = "0-exclusive"


def frame_range(start: int, end: int, convention: FrameIndex) -> tuple[int, int]:
    """An annotated interval as Python has it: from 0, the end not in it. It may reach beyond the recording."""
    return (start - 1 if convention == "1-inclusive" else start), (end + 1 if convention == "0-inclusive" else end)


def cut_interval(recording: Recording, name: str, first: int, stop: int) -> tuple[Recording, int]:
    """Frames [first, stop) of a recording as one of its own, as far as they are there.

    Returns:
        The clip, its frames renumbered from 0, and how many frames of the interval lie outside the recording.
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
