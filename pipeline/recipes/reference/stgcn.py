"""Recipe steps of ST-GCN (Yan et al. 2018)."""

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.errors import UnusableClip
from pipeline.skeleton import segments
from pipeline.skeleton.recording import MAX_JOINTS, Clip, Recording

Longer = Literal["refuse", "first", "centre", "keep"]
"""What becomes of a recording of more frames than a peer makes room for."""


def bodies_by_slot(
    recording: Recording,
    *,
    bodies: Annotated[int, Field(ge=1, le=2)] = 2,
    max_frames: Annotated[int, Field(ge=1)] = 300,
    longer: Longer = "refuse",
) -> Clip:
    """Take the first bodies of every frame as they come, whoever they are; what is absent stays zero.

    The reader of ST-GCN, and of SkeleMixCLR, CrosSCLR and AimCLR after it: ids are ignored, so people swap places when
    the order in the file changes, and ghosts stay.

    Args:
        recording: rows in file order.
        bodies: slots taken; 2 there.
        max_frames: frames for which the peers make room; the longest file of NTU RGB+D has 300.
        longer: a recording with more is refused ("refuse"; the peers crash on it), cut to its "first" frames (MAMP and
            CMD, for PKU-MMD) or to those in its "centre" (AimCLR, for PKU-MMD), or taken whole ("keep").

    Returns:
        A clip of exactly that many bodies and all frames of the recording that are left.

    Raises:
        UnusableClip: the recording has no frame, or more than the peers make room for.
    """
    recording, cut = within(recording, max_frames, longer)
    found = count_slots(recording)
    clip = Clip(name=recording.name, layout=recording.layout, xyz=first_slots(recording, bodies))
    return clip.after(clip.xyz, bodies_found=found, bodies_dropped=max(0, found - bodies), frames_trimmed=cut)


def within(recording: Recording, max_frames: int, longer: Longer) -> tuple[Recording, int]:
    """The recording cut to what there is room for, and how many frames that took.

    Raises:
        UnusableClip: it has no frame, or too many and should be refused.
    """
    frames = recording.frames
    if frames == 0:
        raise UnusableClip("no frame")
    if frames <= max_frames or longer == "keep":
        return recording, 0
    if longer == "refuse":
        raise UnusableClip(f"{frames} frames, and the peers' arrays end at {max_frames}")
    start = (frames - max_frames) // 2 if longer == "centre" else 0
    return segments.cut_interval(recording, recording.name, start, start + max_frames)[0], frames - max_frames


def first_slots(recording: Recording, count: int) -> NDArray[np.float32]:
    """(count, T, V, 3) the first bodies of every frame, zero where there are fewer.

    Raises:
        UnusableClip: there are more frames than of any recording.
    """
    if count * recording.frames * len(recording.layout.joints) > MAX_JOINTS:
        raise UnusableClip(f"{recording.frames} frames: no recording of people")
    xyz = np.zeros((count, recording.frames, *recording.xyz.shape[1:]), np.float32)
    taken = recording.slot < count
    xyz[recording.slot[taken], recording.frame[taken]] = recording.xyz[taken]
    return xyz


def count_slots(recording: Recording) -> int:
    """Slots that hold a body in any frame."""
    return int(recording.slot.max(initial=-1)) + 1
