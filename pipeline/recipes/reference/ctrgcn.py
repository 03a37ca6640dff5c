"""Recipe steps of CTR-GCN (Chen et al. 2021; data/ntu/*.py), exact to its bugs: denoising and origin.

`bodies_by_motion` takes the rows of a recording to bodies on one time line. An absent body is zero here, not NaN. The
file's own zeros, NaN and infinities are kept, because CTR-GCN adds and compares them, too.
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
    """All rows of one id, without gaps, from the frame of the first row on: a body in CTR-GCN and in PYSKL."""

    joints: NDArray[np.float32]
    """(L, V, 3) metres."""
    start: int
    """Its first frame, counted among the frames that have a body."""
    motion: np.float32
    """Square metres; see `spread`."""

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
    """Make bodies of ids, drop ghosts, and merge the rest into at most two actors: CTR-GCN's denoising.

    It is from SGN, and MAMP uses it, too. Frames without a body are removed, so that later ones move forward. The gaps
    of an id are removed as well: a person who leaves and returns is moved forward, out of step with everybody else. A
    file with one id is not changed. Otherwise short bodies are dropped, then wide ones, in order of appearance and
    never the last one. The body with the most motion is the first actor. Each following body becomes part of the first
    actor if it does not overlap with the first actor's frames, else of the second actor likewise, else it is dropped.
    One shared frame is no overlap, and the later body takes it. The second actor's frames always count from frame 0,
    even if that actor begins later. Finally, frames whose coordinates sum to zero are dropped.

    Args:
        recording: rows in file order.
        min_frames: shorter bodies are dropped; CTR-GCN drops those of 11 and fewer.
        max_spread: a frame is wide if its extent in x is more than this share of its extent in y; 0.8 in CTR-GCN.
        max_wide: bodies with at least this share of wide frames are dropped; 0.69754 in CTR-GCN. The motion of the
            others is the smaller one of that of all frames and that of the narrow frames.

    Returns:
        One body, or two if more than one remained to merge (the second may be all zero); as many frames as have a body.

    Raises:
        UnusableClip: CTR-GCN crashes: no frame has a body, all bodies are short, an id that occurs twice in a frame
            runs past the end, or every frame sums to zero.
    """
    tracks, frames = tracks_of(recording)
    remaining = tracks
    if len(tracks) > 1:
        remaining = [track for track in tracks if len(track.joints) >= min_frames]
        if not remaining:
            raise UnusableClip(f"every body is in fewer than {min_frames} frames; CTR-GCN crashes on it")
        remaining = sorted(_without_wide(remaining, max_spread, max_wide), key=lambda track: track.motion, reverse=True)
    joints, merged = _merge(remaining, frames)
    if len(tracks) > 1:
        joints = joints[joints.reshape(len(joints), -1).sum(axis=1) != 0]
        if not len(joints):
            raise UnusableClip("the coordinates of every frame sum to zero; CTR-GCN crashes on it")
    clip = Clip(name=recording.name, layout=recording.layout, xyz=np.ascontiguousarray(joints.swapaxes(0, 1)))
    dropped = len(tracks) - merged
    empty = recording.frames - len(joints)
    return clip.after(clip.xyz, bodies_found=len(tracks), bodies_dropped=dropped, frames_empty=empty)


def copy_missing_second(clip: Clip) -> Clip:
    """Repeat the body of a clip that has only one.

    The scripts of CTR-GCN and MAMP for NTU RGB+D 120 do this; those for NTU RGB+D 60 leave the second body zero.
    """
    return clip if len(clip.xyz) > 1 else clip.after(np.repeat(clip.xyz, 2, axis=0))


def _rows_by_id(body: NDArray[np.int64]) -> list[NDArray[np.intp]]:
    """Return the rows of each id, with the ids in order of appearance."""
    return [np.flatnonzero(body == identity) for identity in dict.fromkeys(body.tolist())]


def tracks_of(recording: Recording) -> tuple[list[Track], int]:
    """Return the tracks of all ids, in order of appearance, and the number of frames that have a body.

    Raises:
        UnusableClip: no frame has a body.
    """
    frames, index = np.unique(recording.frame, return_inverse=True)
    if not len(frames):
        raise UnusableClip("no body in any frame")
    tracks = []
    for rows in _rows_by_id(recording.body):
        joints = recording.xyz[rows]
        tracks.append(Track(joints=joints, start=int(index[rows[0]]), motion=spread(joints)))
    return tracks, len(frames)


def narrow_frames(track: Track, max_spread: float) -> NDArray[np.bool_]:
    """Return (L,): whether a frame's extent in x is at most that share of its extent in y; False with a NaN."""
    narrow: NDArray[np.bool_] = ctrgcn_kernels.narrow(track.joints, np.float32(max_spread))
    return narrow


def spread(joints: NDArray[np.float32]) -> np.float32:
    """Return CTR-GCN's motion: the sum of the variances of x, y and z over all joints of all frames, in float32."""
    return np.float32(ctrgcn_kernels.spread(joints))


def _without_wide(tracks: list[Track], max_spread: float, max_wide: float) -> list[Track]:
    """Drop the bodies that are wide in too many frames; the last remaining one is not examined."""
    remaining = list(tracks)
    for track in tracks:
        if len(remaining) == 1:
            break
        narrow = narrow_frames(track, max_spread)
        wide = len(narrow) - int(narrow.sum())
        if wide == 0:
            continue
        if wide / len(narrow) >= max_wide:
            remaining.remove(track)
        else:
            track.motion = min(track.motion, spread(track.joints[narrow]))
    return remaining


def _merge(tracks: list[Track], frames: int) -> tuple[NDArray[np.float32], int]:
    """Write tracks into actors (T, M, V, 3), the first track first; return the actors and the number of tracks used.

    Raises:
        UnusableClip: a track ends beyond the last frame.
    """
    joints = np.zeros((frames, min(2, len(tracks)), *tracks[0].joints.shape[1:]), np.float32)
    # First and last frame of each actor so far. An overlap of one frame does not count, so the first track can start at
    # its own start. The second actor's span always includes frame 0, as in CTR-GCN.
    spans = [(tracks[0].start, tracks[0].start), (0, 0)]
    written = 0
    for track in tracks:
        for actor, (start, end) in enumerate(spans):
            if min(end, track.end) - max(start, track.start) <= 0:
                if track.end >= frames:
                    raise UnusableClip("an id occurs twice in a frame and runs past the end; CTR-GCN crashes on it")
                joints[track.start : track.end + 1, actor] = track.joints
                spans[actor] = min(start, track.start), max(end, track.end)
                written += 1
                break
    return joints, written


def origin_at_start(clip: Clip, *, joint: str = "spine_mid") -> Clip:
    """Move the origin to the first actor's joint in the first frame in which the first actor is not all zero.

    This is seq_translation of CTR-GCN and MAMP. The paths of people and the distance between them are kept, but zeros
    are not: a missing joint, and in a clip of one body a missing frame, too, moves to the position of the sensor. Only
    in a clip of two bodies, a frame in which a body's coordinates sum to zero stays zero.

    Args:
        clip: one or two bodies, zero where they are absent.
        joint: the joint at the origin; the middle of the spine in CTR-GCN.

    Raises:
        LayoutError: the skeleton has no such joint.
        UnusableClip: the first actor is zero in every frame; CTR-GCN crashes on it.
    """
    index = clip.layout.index(joint)
    M, T = clip.xyz.shape[:2]
    present = (clip.xyz[0] != 0).any(axis=(1, 2))
    first = int(present.argmax())
    if not present[first]:
        raise UnusableClip("the first actor is zero in every frame; CTR-GCN crashes on it")
    moved = clip.xyz - clip.xyz[0, first, index]
    if M > 1:
        moved[clip.xyz.reshape(M, T, -1).sum(axis=-1) == 0] = 0
    return clip.after(moved)
