"""Recipe step of PYSKL (Duan et al. 2022; tools/data/ntu_preproc.py), exact to its bugs: denoising.

PYSKL's denoising is a variant of CTR-GCN's. As in ctrgcn.py, an absent body is zero, and the file's own zeros and NaN
are kept.
"""

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.errors import UnusableClip
from pipeline.recipes.reference.ctrgcn import Track, narrow_frames, spread, tracks_of
from pipeline.skeleton.recording import Clip, Recording

ABSENT_METRES = 1e-3
"""A body whose absolute coordinates sum to less is absent: PYSKL's eps."""


def bodies_as_pyskl(
    recording: Recording,
    *,
    min_frames: Annotated[int, Field(ge=1)] = 12,
    max_spread: Annotated[float, Field(gt=0)] = 0.8,
    max_wide: Annotated[float, Field(ge=0, le=1)] = 0.69754,
) -> Clip:
    """Make bodies of ids, drop ghosts, and merge the rest into at most two actors, as PYSKL does.

    It is like `bodies_by_motion`; gaps are removed here, too, and the second actor's frames also count from frame 0.
    The differences: the width of all bodies is examined, even of the last one; one shared frame is an overlap; empty
    frames are removed at the ends only; and if the first actor is absent from the first frame, but the second is not,
    they are exchanged. A file with one id, or with one remaining body, is not changed.

    Args:
        recording: rows in file order.
        min_frames: shorter bodies are dropped; PYSKL drops those of 11 and fewer.
        max_spread: a frame is wide if its extent in x is more than this share of its extent in y; 0.8 in PYSKL.
        max_wide: bodies with at least this share of wide frames are dropped; 0.69754 in PYSKL. The motion of the others
            is the smaller one of that of all frames and that of the narrow frames.

    Returns:
        One body, or two if more than one remained to merge (the second may be all zero), in float32. PYSKL stores
        float16; the export to PYSKL's format converts to it.

    Raises:
        UnusableClip: PYSKL crashes: no frame has a body, all bodies are short or wide, or only zeros remain.
    """
    tracks, frames = tracks_of(recording)
    remaining = sorted(tracks, key=lambda track: -track.motion)
    if len(remaining) > 1:
        remaining = [track for track in remaining if len(track.joints) >= min_frames]
    if len(remaining) > 1:
        remaining = sorted(_without_wide(remaining, max_spread, max_wide), key=lambda track: -track.motion)
    if not remaining:
        raise UnusableClip(f"every body is in fewer than {min_frames} frames, or wide; PYSKL crashes on it")
    if len(remaining) == 1:
        joints, merged, trimmed = remaining[0].joints[None], 1, 0
    else:
        whole, merged = _merge(remaining)
        joints = _swap_if_first_absent(_trim(whole))
        trimmed = whole.shape[1] - joints.shape[1]
    clip = Clip(name=recording.name, layout=recording.layout, xyz=np.ascontiguousarray(joints))
    return clip.after(
        clip.xyz,
        bodies_found=len(tracks),
        bodies_dropped=len(tracks) - merged,
        frames_empty=recording.frames - frames,
        frames_trimmed=trimmed,
    )


def _without_wide(tracks: list[Track], max_spread: float, max_wide: float) -> list[Track]:
    """Drop the bodies that are wide in too many frames, even if none remains."""
    remaining = []
    for track in tracks:
        narrow = narrow_frames(track, max_spread)
        if 1 - int(narrow.sum()) / len(narrow) < max_wide or narrow.all():
            remaining.append(track)
            if not narrow.all():
                track.motion = min(track.motion, spread(track.joints[narrow]))
    return remaining


def _merge(tracks: list[Track]) -> tuple[NDArray[np.float32], int]:
    """Write tracks into two actors (2, T, V, 3), the first track first; return them and the number of tracks used."""
    frames = max(track.start + len(track.joints) for track in tracks)
    joints = np.zeros((2, frames, *tracks[0].joints.shape[1:]), np.float32)
    # First frame and end (exclusive) of each actor so far; the second actor always starts at 0, as in PYSKL.
    spans = [(tracks[0].start, tracks[0].start), (0, 0)]
    written = 0
    for track in tracks:
        first, stop = track.start, track.start + len(track.joints)
        for actor, (start, end) in enumerate(spans):
            if max(start, first) >= min(end, stop):
                joints[actor, first:stop] = track.joints
                spans[actor] = min(start, first), max(end, stop)
                written += 1
                break
    return joints, written


def _trim(joints: NDArray[np.float32]) -> NDArray[np.float32]:
    """Remove the frames without a body at both ends.

    Raises:
        UnusableClip: no frame has a body.
    """
    occupied = np.flatnonzero(~(np.abs(joints).sum(axis=(0, 2, 3)) < ABSENT_METRES))
    if not len(occupied):
        raise UnusableClip("the coordinates of every frame are zero; PYSKL crashes on it")
    return joints[:, occupied[0] : occupied[-1] + 1]


def _swap_if_first_absent(joints: NDArray[np.float32]) -> NDArray[np.float32]:
    """Exchange the actors if in the first frame the second has joint 1 and the first does not."""
    first, second = np.abs(joints[:, 0, 1]).sum(axis=-1)
    return joints[::-1] if first < ABSENT_METRES < second else joints
