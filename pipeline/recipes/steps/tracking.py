"""Tracking steps: turn rows of a recording into bodies by the sensor's ids, and repair id switches."""

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.errors import UnusableClip
from pipeline.recipes.steps import selection_kernels, tracking_kernels
from pipeline.skeleton.recording import MAX_JOINTS, Clip, Recording

HANDOVER_FRAMES = 30
"""Frames before and after a jump that are searched for another person at the same position."""
MIN_JOINTS = 1_000_000
"""Joints that the bodies of any recording may have, over all frames: 12 MB, or 4 bodies for 5 minutes."""
MAX_SPARSITY, MAX_FULL_BODIES = 64, 4
"""A larger recording may have 4 bodies, or as many as are seen in 1 of 64 frames on average. A body in one frame has
about 3 kB of text and 300 bytes here, so this is a small multiple of the file; a person in view for ten minutes may get
64 ids."""
MIN_COMPARED_ROWS, MAX_COMPARED_SHARE = 1_000_000, 50
"""Rows that may be compared at the jumps of bodies: as many as take a second, or 50 times those of the recording. Four
people who jump in each of 300 frames have fewer."""


def follow_ids(
    recording: Recording,
    *,
    max_jump: Annotated[float, Field(gt=0)] = 0.25,
    pace: Annotated[float, Field(ge=0)] = 0.045,
    max_distance: Annotated[float, Field(ge=0)] = 0.5,
    min_stay: Annotated[int, Field(ge=1)] = 3,
) -> Clip:
    """Make one body of each id of the sensor, with each row in its true frame; from here on missing is NaN.

    Nothing is moved in time: a person who leaves and returns has a gap of that length (CTR-GCN and PYSKL close it).
    An id that occurs twice in one frame gives two bodies. A joint at exactly (0, 0, 0), NaN or infinity is missing.

    Args:
        recording: rows in file order.
        max_jump: metres from one frame to the next. If more than half of a body's joints move further than this, the
            tracking is wrong: no whole body moves at 0.25 m a frame, which is 7.5 m/s at 30 frames a second.
        pace: metres that are added for every frame in which the body is not seen: a brisk walk, 1.35 m/s.
        max_distance: metres, median over the joints. If within a second another person was at the position that an id
            jumps to, or comes to the position that it jumps from, then the id has passed to another person and a new
            body begins; `rejoin` repairs a wrong cut. Otherwise the sensor lost the person for a moment, and the body
            continues.
        min_stay: if a body jumps away and returns in fewer frames, these frames become a separate body even so,
            because they do not show the person.

    Returns:
        A clip with one body for each id or part of an id, in order of appearance.

    Raises:
        UnusableClip: no frame has a body with a known joint, or the bodies are so many, and each is seen in so few
            frames, that the clip would need far more memory than the recording.
    """
    person, found = _persons(recording)
    _refuse_sparse(recording, found)
    jumps = tracking_kernels.find_jumps(recording.xyz, recording.frame, person, found, max_jump, pace)
    body, count = person, found
    if jumps.any():
        body, count = _split_at_jumps(recording, person, jumps, max_distance, min_stay)
        _refuse_sparse(recording, count)
    xyz = np.full((count, recording.frames, *recording.xyz.shape[1:]), np.nan, np.float32)
    present = np.zeros(count, np.bool_)
    missing = tracking_kernels.scatter_rows(recording.xyz, recording.frame, body, xyz, present)
    if not present.any():
        raise UnusableClip("no body in any frame")
    clip = Clip(name=recording.name, layout=recording.layout, xyz=xyz)
    return clip.after(
        xyz if present.all() else xyz[present],
        bodies_found=found,
        bodies_split=count - found,
        bodies_dropped=count - int(present.sum()),
        joints_missing=missing,
    )


def rejoin(
    clip: Clip,
    *,
    max_gap: Annotated[int, Field(ge=0)] = 60,
    max_overlap: Annotated[int, Field(ge=0)] = 1,
    max_distance: Annotated[float, Field(ge=0)] = 0.5,
    pace: Annotated[float, Field(ge=0)] = 0.045,
    pose_gap: Annotated[int, Field(ge=0)] = 10,
) -> Clip:
    """Join the bodies of one person whose id has changed.

    Two bodies are one person if they share (almost) no frame and every hand-over from one to the other is short in
    time and distance. The nearest pair is joined first, and so on until there is none left. So a person whose id has
    changed twice, or changed and changed back, becomes one body, and two people at a distance stay two.

    Args:
        clip: bodies with NaN where they are absent.
        max_gap: frames between the end of one body and the beginning of the other; 60 is two seconds.
        max_overlap: frames in which both may be present, at the same position: the sensor sometimes reports the old and
            the new id together. 1 is CTR-GCN's rule (which treats an overlap of one frame as none). The body that
            appears first keeps its joints there.
        max_distance: metres at a hand-over, mean over the joints known in both bodies, assuming that the person stood
            still or walked on at the same velocity. About half of the distance at which people stand in NTU RGB+D.
        pace: metres that are added for every frame out of sight: a brisk walk, 1.35 m/s at 30 frames a second.
        pose_gap: frames; after a longer gap the pose may have changed (a standing person may squat), so the distance
            may also be the horizontal one between the centres of both bodies.
    """
    if len(clip.xyz) == 1:
        return clip
    limits = (max_gap, max_overlap, max_distance, pace, pose_gap)
    xyz, joined = clip.xyz.copy(), np.zeros(len(clip.xyz), np.bool_)
    present = selection_kernels.present(xyz)
    distances = tracking_kernels.handover_matrix(xyz, present, *limits)
    while np.isfinite(distances.min()):
        first, second = divmod(int(distances.argmin()), len(xyz))
        xyz[first, ~present[first]] = xyz[second, ~present[first]]
        present[first] |= present[second]
        joined[second] = True
        tracking_kernels.update_handover_matrix(distances, xyz, present, joined, first, *limits)
    return clip.after(xyz[~joined] if joined.any() else clip.xyz, bodies_rejoined=joined.sum())


def _refuse_sparse(recording: Recording, count: int) -> None:
    """Check that an array of that many bodies, in all frames, is not much larger than the recording.

    Raises:
        UnusableClip: it is.
    """
    joints = len(recording.layout.joints)
    needed = count * max(count, recording.frames) * joints  # `rejoin` compares all pairs of bodies
    known = max(MAX_SPARSITY * len(recording.frame), MAX_FULL_BODIES * recording.frames) * joints
    if needed > MAX_JOINTS or needed > max(MIN_JOINTS, known):
        raise UnusableClip(
            f"{count} bodies in {recording.frames} frames: no recording of people; cut it into short ones"
        )


def _persons(recording: Recording) -> tuple[NDArray[np.int64], int]:
    """Return the person of each row (R,), numbered by appearance, and their number; an id twice in a frame is two."""
    number = np.empty(len(recording.body), np.int64)
    if count := tracking_kernels.number_ids(recording.frame, recording.body, number):
        return number, count
    ids, first, inverse = np.unique(recording.body, return_index=True, return_inverse=True)
    appearance = np.argsort(np.argsort(first))[inverse]
    cell = appearance * recording.frames + recording.frame
    order = np.argsort(cell, kind="stable")
    is_repeated = np.diff(cell[order], prepend=-1) == 0
    index = np.arange(len(order))
    occurrence = np.empty_like(index)
    occurrence[order] = index - np.maximum.accumulate(np.where(is_repeated, 0, index))
    persons, number = np.unique(occurrence * len(ids) + appearance, return_inverse=True)
    return number, len(persons)


def _split_at_jumps(
    recording: Recording, person: NDArray[np.int64], jumps: NDArray[np.bool_], max_distance: float, min_stay: int
) -> tuple[NDArray[np.int64], int]:
    """Return the body of each row (R,), from the rows at which persons jump, and the number of bodies.

    Raises:
        UnusableClip: bodies jump all the time.
    """
    order = np.argsort(person, kind="stable")
    jumps = jumps[order]
    starts = np.flatnonzero(jumps | (np.diff(person[order], prepend=-1) != 0))
    _refuse_many_jumps(recording, recording.frame[order[starts[jumps[starts]]]])
    lengths = np.diff(starts, append=len(order))
    label = np.arange(len(starts))
    current = -1  # the piece whose body the person's later pieces continue
    for piece, start in enumerate(starts.tolist()):
        if not jumps[start] or _passes_on(recording, person, order[start - 1], order[start], max_distance):
            current = piece
        elif lengths[piece] >= min_stay:
            label[piece] = current
    bodies, renumbered = np.unique(label, return_inverse=True)
    body = np.empty_like(person)
    body[order] = np.repeat(renumbered, lengths)
    return body, len(bodies)


def _refuse_many_jumps(recording: Recording, frames: NDArray[np.int32]) -> None:
    """Check that the rows to compare at the jumps, which are to these frames, are not many times all rows.

    Raises:
        UnusableClip: they are.
    """
    last, first = (recording.frame.searchsorted(frames + span) for span in (HANDOVER_FRAMES + 1, -HANDOVER_FRAMES))
    if (last - first).sum() > max(MIN_COMPARED_ROWS, MAX_COMPARED_SHARE * len(recording.frame)):
        raise UnusableClip(f"bodies jump {len(frames)} times in {recording.frames} frames: no recording of people")


def _passes_on(
    recording: Recording, person: NDArray[np.int64], before: np.int64, after: np.int64, max_distance: float
) -> bool:
    """Whether an id that jumps from row `before` to row `after` passes to another person, seen at either position."""

    def is_other_near(row: np.int64, first: int, last: int) -> bool:
        low, high = recording.frame.searchsorted([first, last + 1])
        others = recording.xyz[low:high][person[low:high] != person[row]]
        distances = np.median(np.linalg.norm(others - recording.xyz[row], axis=-1), axis=-1)
        return bool((distances <= max_distance).any())

    left, came = int(recording.frame[before]), int(recording.frame[after])
    return is_other_near(after, came - HANDOVER_FRAMES, came - 1) or is_other_near(
        before, left + 1, left + HANDOVER_FRAMES
    )
