"""Which bodies the peers take: the first of each frame, the most spread out, or the most moving; their bugs included.

Each step takes a recording's rows, as the file has them, to bodies on one time line. What is absent is zero here, not
NaN, and zeros, NaN and infinities of the file stay: the peers add and compare them, and so must whoever repeats them.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline import peers_kernels, segments
from pipeline.errors import UnusableClip
from pipeline.recording import MOST_JOINTS, Clip, Recording

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
    recording, cut = _within(recording, max_frames, longer)
    found = _slots_used(recording)
    clip = Clip(name=recording.name, layout=recording.layout, xyz=_slots(recording, bodies))
    return clip.after(clip.xyz, bodies_found=found, bodies_dropped=max(0, found - bodies), frames_trimmed=cut)


def bodies_by_energy(
    recording: Recording,
    *,
    bodies: Annotated[int, Field(ge=1, le=2)] = 2,
    slots: Annotated[int, Field(ge=2)] = 4,
    max_frames: Annotated[int, Field(ge=1)] = 300,
    longer: Longer = "refuse",
) -> Clip:
    """Take the slots of the greatest energy, the greatest first: 2s-AGCN's reader, and MMAction2's after it.

    Energy is the standard deviation of x, that of y and that of z, summed, each over all joints of all frames whose
    coordinates do not sum to zero: how large a body is and how far it goes, rather than how it moves. Slots are taken
    for people, whoever is in them. A slot with NaN in it comes first.

    Args:
        recording: rows in file order.
        bodies: slots kept; 2 there.
        slots: slots looked at, from the first; the sensor can see 6 people, but 4 there.
        max_frames: as for `bodies_by_slot`.
        longer: as for `bodies_by_slot`.

    Returns:
        A clip of exactly that many bodies and all frames of the recording that are left.

    Raises:
        UnusableClip: the recording has no frame, or more than the peer makes room for.
    """
    recording, cut = _within(recording, max_frames, longer)
    xyz = _slots(recording, slots)
    # The peer's argsort leaves the order of equals to chance; on short lists it sorts by insertion, which is stable.
    order = np.argsort([_energy(slot.astype(np.float64)) for slot in xyz], kind="stable")[::-1]
    found = _slots_used(recording)
    clip = Clip(name=recording.name, layout=recording.layout, xyz=xyz[order[:bodies]])
    return clip.after(clip.xyz, bodies_found=found, bodies_dropped=max(0, found - bodies), frames_trimmed=cut)


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


def refuse_zeros(clip: Clip) -> Clip:
    """Leave out a clip whose coordinates sum to zero, as MAMP does with what PKU-MMD labels where nobody was tracked.

    Raises:
        UnusableClip: the coordinates sum to zero.
    """
    if clip.xyz.sum(dtype=np.float64) == 0:
        raise UnusableClip("the coordinates sum to zero")
    return clip


def _within(recording: Recording, max_frames: int, longer: Longer) -> tuple[Recording, int]:
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
    return segments.cut(recording, recording.name, start, start + max_frames)[0], frames - max_frames


def _slots(recording: Recording, count: int) -> NDArray[np.float32]:
    """(count, T, V, 3) the first bodies of every frame, zero where there are fewer.

    Raises:
        UnusableClip: there are more frames than of any recording.
    """
    if count * recording.frames * len(recording.layout.joints) > MOST_JOINTS:
        raise UnusableClip(f"{recording.frames} frames: no recording of people")
    xyz = np.zeros((count, recording.frames, *recording.xyz.shape[1:]), np.float32)
    taken = recording.slot < count
    xyz[recording.slot[taken], recording.frame[taken]] = recording.xyz[taken]
    return xyz


def _slots_used(recording: Recording) -> int:
    return int(recording.slot.max(initial=-1)) + 1


def _energy(xyz: NDArray[np.float64]) -> np.float64:
    """2s-AGCN's energy of one slot (T, V, 3), metres; 0 when no frame is filled."""
    filled = xyz[xyz.sum(axis=-1).sum(axis=-1) != 0]
    return np.float64(sum(filled[..., axis].std() for axis in range(3)) if len(filled) else 0)


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
    narrow: NDArray[np.bool_] = peers_kernels.narrow(track.joints, np.float32(max_spread))
    return narrow


def spread_out(joints: NDArray[np.float32]) -> np.float32:
    """CTR-GCN's motion: the variances of x, y and z over all joints of all frames, summed, in float32 as there."""
    return np.float32(peers_kernels.spread_out(joints))


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
