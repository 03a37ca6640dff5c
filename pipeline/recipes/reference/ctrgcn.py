"""Which bodies the peers take: the first of each frame, the most spread out, or the most moving; their bugs included.

Each step takes a recording's rows, as the file has them, to bodies on one time line. What is absent is zero here, not
NaN, and zeros, NaN and infinities of the file stay: the peers add and compare them, and so must whoever repeats them.
"""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.errors import UnusableClip
from pipeline.recipes.reference import ctrgcn_kernels
from pipeline.skeleton.recording import Clip, Recording


@dataclass(slots=True, eq=False)
class Track:
    """All rows of one id, laid end to end from the frame of the first: CTR-GCN's body, and PYSKL's."""

    joints: NDArray[np.float32]
    """(L, V, 3) metres."""
    start: int
    """Its first frame, among those that show a body."""
    motion: np.float32
    """Square metres."""

    @property
    def end(self) -> int:
        """Its last frame."""
        return self.start + len(self.joints) - 1


def bodies_by_motion(
    recording: Recording,
    *,
    min_frames: Annotated[int, Field(ge=1)] = 12,
    max_spread: Annotated[float, Field(gt=0)] = 0.8,
    max_wide: Annotated[float, Field(ge=0, le=1)] = 0.69754,
) -> Clip:
    """Follow ids, drop ghosts, and merge what is left into at most two actors: CTR-GCN's denoising.

    SGN's before it, and MAMP's after it. Frames without a body do not count: later ones move up. Nor do an id's own
    gaps: whoever leaves and returns is moved to where they left, out of step with everyone else. A file with one id is
    taken as it is. Otherwise short bodies go, then wide ones, in the order in which they appear and never the last;
    then the most moving is the first actor, and each next one becomes part of the first actor where it does not
    overlap the first's frames, else of the second likewise, else it is dropped. One shared frame is no overlap, and the
    later body takes it. The second actor's frames count from frame 0 whenever that actor begins. Last, frames whose
    coordinates sum to zero go.

    Args:
        recording: rows in file order.
        min_frames: shorter bodies go; the peer drops 11 and fewer.
        max_spread: a frame is wide when its extent in x is more than this much of its extent in y; 0.8 there.
        max_wide: bodies with at least this share of wide frames go; 0.69754 there. Of others the motion is the lesser
            of all frames' and of the narrow frames'.

    Returns:
        One body, or two when more than one was left to merge (the second may be all zero); as many frames as show a
        body.

    Raises:
        UnusableClip: the peer crashes: no frame has a body, all bodies are short, an id that stands twice in a frame
            runs past the end, or every frame sums to zero.
    """
    tracks, frames = tracks_of(recording)
    left = tracks
    if len(tracks) > 1:
        left = [track for track in tracks if len(track.joints) >= min_frames]
        if not left:
            raise UnusableClip(f"every body is in fewer than {min_frames} frames; CTR-GCN crashes on it")
        left = sorted(_narrow(left, max_spread, max_wide), key=lambda track: track.motion, reverse=True)
    joints, merged = _merged(left, frames)
    if len(tracks) > 1:
        joints = joints[joints.reshape(len(joints), -1).sum(axis=1) != 0]
        if not len(joints):
            raise UnusableClip("the coordinates of every frame sum to zero; CTR-GCN crashes on it")
    clip = Clip(name=recording.name, layout=recording.layout, xyz=np.ascontiguousarray(joints.swapaxes(0, 1)))
    dropped = len(tracks) - merged
    empty = recording.frames - len(joints)
    return clip.after(clip.xyz, bodies_found=len(tracks), bodies_dropped=dropped, frames_empty=empty)


def copy_missing_second(clip: Clip) -> Clip:
    """Give a clip of one body that body twice.

    What CTR-GCN's and MAMP's scripts for NTU RGB+D 120 do; those for 60 leave the second body zero.
    """
    return clip if len(clip.xyz) > 1 else clip.after(np.repeat(clip.xyz, 2, axis=0))


def _rows_by_id(body: NDArray[np.int64]) -> list[NDArray[np.intp]]:
    """The rows of every id, ids in the order in which they appear."""
    return [np.flatnonzero(body == one) for one in dict.fromkeys(body.tolist())]


def tracks_of(recording: Recording) -> tuple[list[Track], int]:
    """The tracks of all ids, in the order in which they appear, and how many frames show a body: only those count.

    Raises:
        UnusableClip: no frame shows one.
    """
    shown, at = np.unique(recording.frame, return_inverse=True)
    if not len(shown):
        raise UnusableClip("no body in any frame")
    found = []
    for rows in _rows_by_id(recording.body):
        joints = recording.xyz[rows]
        found.append(Track(joints=joints, start=int(at[rows[0]]), motion=spread_out(joints)))
    return found, len(shown)


def narrow_frames(track: Track, max_spread: float) -> NDArray[np.bool_]:
    """(L,) whether a frame's extent in x is at most so much of its extent in y; not where a coordinate is NaN."""
    narrow: NDArray[np.bool_] = ctrgcn_kernels.narrow(track.joints, np.float32(max_spread))
    return narrow


def spread_out(joints: NDArray[np.float32]) -> np.float32:
    """CTR-GCN's motion: the variances of x, y and z over all joints of all frames, summed, in float32 as there."""
    return np.float32(ctrgcn_kernels.spread_out(joints))


def _narrow(tracks: list[Track], max_spread: float, max_wide: float) -> list[Track]:
    """Without the bodies that are wide in too many frames; the last one is not looked at."""
    left = list(tracks)
    for track in tracks:
        if len(left) == 1:
            break
        narrow = narrow_frames(track, max_spread)
        wide = len(narrow) - int(narrow.sum())
        if wide == 0:
            continue
        if wide / len(narrow) >= max_wide:
            left.remove(track)
        else:
            track.motion = min(track.motion, spread_out(track.joints[narrow]))
    return left


def _merged(tracks: list[Track], frames: int) -> tuple[NDArray[np.float32], int]:
    """Tracks written into actors (T, M, V, 3), the first track first, and how many were.

    Raises:
        UnusableClip: a track ends beyond the last frame.
    """
    joints = np.zeros((frames, min(2, len(tracks)), *tracks[0].joints.shape[1:]), np.float32)
    # First and last frame of each actor so far. One frame's overlap is none, so the first track finds its own start
    # free; and the second actor's 0 and 0 are never forgotten, as in the peer.
    spans = [(tracks[0].start, tracks[0].start), (0, 0)]
    written = 0
    for track in tracks:
        for actor, (start, end) in enumerate(spans):
            if min(end, track.end) - max(start, track.start) <= 0:
                if track.end >= frames:
                    raise UnusableClip("an id stands twice in a frame and runs past the end; CTR-GCN crashes on it")
                joints[track.start : track.end + 1, actor] = track.joints
                spans[actor] = min(start, track.start), max(end, track.end)
                written += 1
                break
    return joints, written


def origin_at_start(clip: Clip, *, joint: str = "spine_mid") -> Clip:
    """Put the origin at the first actor's joint in the first frame in which the first actor is not all zero.

    CTR-GCN's seq_translation, and MAMP's. The way people go and the distance between them stay, but zeros do not: a
    missing joint, and in a clip of one body a missing frame too, goes to where the sensor stands. Only in a clip of two
    bodies does a frame in which a body's coordinates sum to zero stay zero.

    Args:
        clip: one or two bodies, zero where they are absent.
        joint: the joint at the origin; the middle of the spine there.

    Raises:
        LayoutError: the skeleton has no such joint.
        UnusableClip: the first actor is zero in every frame; the peer crashes on it.
    """
    index = clip.layout.index(joint)
    M, T = clip.xyz.shape[:2]
    seen = (clip.xyz[0] != 0).any(axis=(1, 2))
    first = int(seen.argmax())
    if not seen[first]:
        raise UnusableClip("the first actor is zero in every frame; CTR-GCN crashes on it")
    moved = clip.xyz - clip.xyz[0, first, index]
    if M > 1:
        moved[clip.xyz.reshape(M, T, -1).sum(axis=-1) == 0] = 0
    return clip.after(moved)
