"""Recipe step of ST-GCN (Yan et al. 2018), exact to its bugs: the first bodies of every frame."""

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.errors import UnusableClip
from pipeline.skeleton import segments
from pipeline.skeleton.recording import MAX_JOINTS, Clip, Recording

Longer = Literal["refuse", "first", "centre", "keep"]
"""What to do with a recording that has more frames than the arrays of a reference implementation."""


def bodies_by_slot(
    recording: Recording,
    *,
    bodies: Annotated[int, Field(ge=1, le=2)] = 2,
    max_frames: Annotated[int, Field(ge=1)] = 300,
    longer: Longer = "refuse",
) -> Clip:
    """Take the first bodies of every frame in file order, whoever they are; an absent body is zero.

    This is the reader of ST-GCN, and of SkeleMixCLR, CrosSCLR and AimCLR, which are based on it. Ids are ignored, so
    people are exchanged when their order in the file changes, and ghosts are kept.

    Args:
        recording: rows in file order.
        bodies: slots taken; 2 in ST-GCN.
        max_frames: frames that the arrays of the reference implementations hold; the longest file of NTU RGB+D has 300.
        longer: what to do with a recording of more frames: refuse it ("refuse"; the reference implementations crash on
            it), keep its "first" frames (MAMP and CMD, for PKU-MMD) or those in its "centre" (AimCLR, for PKU-MMD), or
            all of them ("keep").

    Returns:
        A clip of exactly that many bodies and the remaining frames of the recording.

    Raises:
        UnusableClip: the recording has no frame, or more than `max_frames`.
    """
    recording, trimmed = limit_frames(recording, max_frames, longer)
    found = count_slots(recording)
    clip = Clip(name=recording.name, layout=recording.layout, xyz=first_slots(recording, bodies))
    return clip.after(clip.xyz, bodies_found=found, bodies_dropped=max(0, found - bodies), frames_trimmed=trimmed)


def limit_frames(recording: Recording, max_frames: int, longer: Longer) -> tuple[Recording, int]:
    """Return the recording with at most that many frames, and the number of frames that were removed.

    Raises:
        UnusableClip: the recording has no frame, or too many and `longer` is "refuse".
    """
    frames = recording.frames
    if frames == 0:
        raise UnusableClip("no frame")
    if frames <= max_frames or longer == "keep":
        return recording, 0
    if longer == "refuse":
        raise UnusableClip(f"{frames} frames, but the arrays of reference implementations have only {max_frames}")
    start = (frames - max_frames) // 2 if longer == "centre" else 0
    return segments.cut_interval(recording, recording.name, start, start + max_frames)[0], frames - max_frames


def first_slots(recording: Recording, count: int) -> NDArray[np.float32]:
    """Return (count, T, V, 3) the first bodies of every frame, zero where there are fewer.

    Raises:
        UnusableClip: there are more frames than in any real recording.
    """
    if count * recording.frames * len(recording.layout.joints) > MAX_JOINTS:
        raise UnusableClip(f"{recording.frames} frames: no recording of people")
    xyz = np.zeros((count, recording.frames, *recording.xyz.shape[1:]), np.float32)
    taken = recording.slot < count
    xyz[recording.slot[taken], recording.frame[taken]] = recording.xyz[taken]
    return xyz


def count_slots(recording: Recording) -> int:
    """Return the number of slots that have a body in any frame."""
    return int(recording.slot.max(initial=-1)) + 1
