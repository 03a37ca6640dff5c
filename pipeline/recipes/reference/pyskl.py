"""Which bodies PYSKL takes: its own telling of CTR-GCN's denoising (tools/data/ntu_preproc.py), bugs included.

Like the steps in peers.py it leaves zero where nobody is, and zeros and NaN of the file where they are.
"""

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.errors import UnusableClip
from pipeline.recipes.reference.ctrgcn import Track, narrow_frames, spread_out, tracks_of
from pipeline.skeleton.recording import Clip, Recording

NOTHING = 1e-3
"""Metres: coordinates whose sizes sum to less are taken for nobody; the peer's eps."""


def bodies_as_pyskl(
    recording: Recording,
    *,
    min_frames: Annotated[int, Field(ge=1)] = 12,
    max_spread: Annotated[float, Field(gt=0)] = 0.8,
    max_wide: Annotated[float, Field(ge=0, le=1)] = 0.69754,
) -> Clip:
    """Follow ids, drop ghosts, and merge what is left into at most two actors, as PYSKL does.

    Like `bodies_by_motion`, with which it shares the gaps that close and the second actor's frames that count from
    frame 0. Otherwise than there, all bodies are looked at for their width, even the last; one shared frame is an
    overlap; empty frames go at the ends only; and when the first actor is not there in the first frame but the second
    is, they change places. A file with one id, or with one body left, is taken as it is.

    Args:
        recording: rows in file order.
        min_frames: shorter bodies go; the peer drops 11 and fewer.
        max_spread: a frame is wide when its extent in x is more than this much of its extent in y; 0.8 there.
        max_wide: bodies with at least this share of wide frames go; 0.69754 there. Of others the motion is the lesser
            of all frames' and of the narrow frames'.

    Returns:
        One body, or two when more than one was left to merge (the second may be all zero), in float32; the peer stores
        float16, which its export gives.

    Raises:
        UnusableClip: the peer crashes: no frame has a body, all bodies are short or wide, or nothing but zeros is left.
    """
    tracks, frames = tracks_of(recording)
    left = sorted(tracks, key=lambda track: -track.motion)
    if len(left) > 1:
        left = [track for track in left if len(track.joints) >= min_frames]
    if len(left) > 1:
        left = sorted(_not_wide(left, max_spread, max_wide), key=lambda track: -track.motion)
    if not left:
        raise UnusableClip(f"every body is in fewer than {min_frames} frames, or wide; PYSKL crashes on it")
    if len(left) == 1:
        joints, merged, trimmed = left[0].joints[None], 1, 0
    else:
        whole, merged = _merged(left)
        joints = _first_come(_trimmed(whole))
        trimmed = whole.shape[1] - joints.shape[1]
    clip = Clip(name=recording.name, layout=recording.layout, xyz=np.ascontiguousarray(joints))
    return clip.after(
        clip.xyz,
        bodies_found=len(tracks),
        bodies_dropped=len(tracks) - merged,
        frames_empty=recording.frames - frames,
        frames_trimmed=trimmed,
    )


def _not_wide(tracks: list[Track], max_spread: float, max_wide: float) -> list[Track]:
    """Without the bodies that are wide in too many frames, even if none is left."""
    left = []
    for track in tracks:
        narrow = narrow_frames(track, max_spread)
        if 1 - int(narrow.sum()) / len(narrow) < max_wide or narrow.all():
            left.append(track)
            if not narrow.all():
                track.motion = min(track.motion, spread_out(track.joints[narrow]))
    return left


def _merged(tracks: list[Track]) -> tuple[NDArray[np.float32], int]:
    """Tracks written into two actors (2, T, V, 3), the first track first, and how many were."""
    stop = max(track.start + len(track.joints) for track in tracks)
    joints = np.zeros((2, stop, *tracks[0].joints.shape[1:]), np.float32)
    # From the first frame of each actor so far to behind the last: the second actor's start stays 0, as in the peer.
    spans = [(tracks[0].start, tracks[0].start), (0, 0)]
    written = 0
    for track in tracks:
        first, behind = track.start, track.start + len(track.joints)
        for actor, (start, end) in enumerate(spans):
            if max(start, first) >= min(end, behind):
                joints[actor, first:behind] = track.joints
                spans[actor] = min(start, first), max(end, behind)
                written += 1
                break
    return joints, written


def _trimmed(joints: NDArray[np.float32]) -> NDArray[np.float32]:
    """Without the frames at both ends in which nobody is.

    Raises:
        UnusableClip: nobody is in any frame.
    """
    somebody = np.flatnonzero(~(np.abs(joints).sum(axis=(0, 2, 3)) < NOTHING))
    if not len(somebody):
        raise UnusableClip("the coordinates of every frame are zero; PYSKL crashes on it")
    return joints[:, somebody[0] : somebody[-1] + 1]


def _first_come(joints: NDArray[np.float32]) -> NDArray[np.float32]:
    """The actors, exchanged when the second's joint 1 is there in the first frame and the first's is not."""
    first, second = np.abs(joints[:, 0, 1]).sum(axis=-1)
    return joints[::-1] if first < NOTHING < second else joints
