"""From a recording's rows to bodies on one time line: by the sensor's ids, mended."""

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.errors import UnusableClip
from pipeline.recipes.steps import selection_kernels, tracking_kernels
from pipeline.skeleton.recording import MAX_JOINTS, Clip, Recording

HANDOVER_FRAMES = 30
"""Frames before or after a jump in which someone else is looked for."""


def follow_ids(
    recording: Recording,
    *,
    max_jump: Annotated[float, Field(gt=0)] = 0.25,
    pace: Annotated[float, Field(ge=0)] = 0.045,
    max_distance: Annotated[float, Field(ge=0)] = 0.5,
    min_stay: Annotated[int, Field(ge=1)] = 3,
) -> Clip:
    """Give every id of the sensor a body of its own, each row in its true frame; missing is NaN from here on.

    Nothing is moved in time: a person who leaves and returns has a hole of that length (CTR-GCN and pyskl close it).
    An id that stands twice in one frame is two bodies. A joint given as exactly (0, 0, 0), NaN or infinite is missing.

    Args:
        recording: rows in file order.
        max_jump: metres from one frame to the next. Where more than half of a body's joints move further than this,
            something is wrong: nobody's whole body moves at 0.25 m a frame, 7.5 m/s at 30 frames a second.
        pace: metres more for every frame in which the body is not seen: a brisk walk, 1.35 m/s.
        max_distance: metres, median of the joints. When someone else was where the id jumps to, or comes to where it
            jumps from, within a second, the id has passed to someone else and a new body begins; `rejoin` heals a cut
            made in error. Else the sensor lost its place for a moment, and it is one body on either side.
        min_stay: a body that jumps away and is back in fewer frames is cut there all the same: they are not where it
            was.

    Returns:
        A clip with one body for each id or part of one, in the order in which they appear.

    Raises:
        UnusableClip: no frame has a body with a joint in it, or there are more bodies than any sensor reports.
    """
    person, found = _persons(recording)
    cut = tracking_kernels.jumps(recording.xyz, recording.frame, person, found, max_jump, pace)
    body, count = person, found
    if cut.any():
        body, count = _cut(recording, person, cut, max_distance, min_stay)
    if count * max(count, recording.frames) * len(recording.layout.joints) > MAX_JOINTS:  # `rejoin` holds all to all
        raise UnusableClip(f"{count} bodies in {recording.frames} frames: no recording of people")
    xyz = np.full((count, recording.frames, *recording.xyz.shape[1:]), np.nan, np.float32)
    there = np.zeros(count, np.bool_)
    missing = tracking_kernels.place(recording.xyz, recording.frame, body, xyz, there)
    if not there.any():
        raise UnusableClip("no body in any frame")
    clip = Clip(name=recording.name, layout=recording.layout, xyz=xyz)
    return clip.after(
        xyz if there.all() else xyz[there],
        bodies_found=found,
        bodies_split=count - found,
        bodies_dropped=count - int(there.sum()),
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
    """Make one body of a person whom the sensor renamed.

    Two bodies are one person when they share (almost) no frame and every hand-over from one to the other is near in
    time and place. The nearest pair is joined first, and so on until none is left; so a person renamed twice, or
    renamed and named back, is one again, and two people who stand apart stay two.

    Args:
        clip: bodies with NaN where they are absent.
        max_gap: frames between the end of one and the beginning of the other; 60 is two seconds.
        max_overlap: frames that both may have, when they are in the same place there: the sensor at times reports the
            old and the new name together. 1 is CTR-GCN's rule (it takes an overlap of one frame for none). The body
            that appears first keeps its joints there.
        max_distance: metres from joint to joint, on average over the joints that both show, at a hand-over, had the
            person stood still or walked on at the same pace. Half of the metre or so at which NTU's pairs stand.
        pace: metres more for every frame out of sight: a brisk walk, 1.35 m/s at 30 frames a second.
        pose_gap: frames; after more than these a pose is forgotten (who was upright may be squatting), and the distance
            may also be the horizontal one between the middles of both bodies.
    """
    if len(clip.xyz) == 1:
        return clip
    rule = (max_gap, max_overlap, max_distance, pace, pose_gap)
    xyz, joined = clip.xyz.copy(), np.zeros(len(clip.xyz), np.bool_)
    present = selection_kernels.present(xyz)
    distances = tracking_kernels.handovers(xyz, present, *rule)
    while np.isfinite(distances.min()):
        kept, merged = divmod(int(distances.argmin()), len(xyz))
        xyz[kept, ~present[kept]] = xyz[merged, ~present[kept]]
        present[kept] |= present[merged]
        joined[merged] = True
        tracking_kernels.update_handovers(distances, xyz, present, joined, kept, *rule)
    return clip.after(xyz[~joined] if joined.any() else clip.xyz, bodies_rejoined=joined.sum())


def _persons(recording: Recording) -> tuple[NDArray[np.int64], int]:
    """(R,) the person that each row is of, in order of appearance, and how many; an id twice in a frame is two."""
    number = np.empty(len(recording.body), np.int64)
    if count := tracking_kernels.number_ids(recording.frame, recording.body, number):
        return number, count
    ids, first, inverse = np.unique(recording.body, return_index=True, return_inverse=True)
    appearance = np.argsort(np.argsort(first))[inverse]
    cell = appearance * recording.frames + recording.frame
    order = np.argsort(cell, kind="stable")
    again = np.diff(cell[order], prepend=-1) == 0
    at = np.arange(len(order))
    occurrence = np.empty_like(at)
    occurrence[order] = at - np.maximum.accumulate(np.where(again, 0, at))
    persons, number = np.unique(occurrence * len(ids) + appearance, return_inverse=True)
    return number, len(persons)


def _cut(
    recording: Recording, person: NDArray[np.int64], cut: NDArray[np.bool_], max_distance: float, min_stay: int
) -> tuple[NDArray[np.int64], int]:
    """(R,) body of each row, given where persons jump, and how many bodies."""
    order = np.argsort(person, kind="stable")
    cut = cut[order]
    first = np.flatnonzero(cut | (np.diff(person[order], prepend=-1) != 0))
    lengths = np.diff(first, append=len(order))
    label = np.arange(len(first))
    stays = -1  # the piece that the person at hand goes on in
    for piece, at in enumerate(first.tolist()):
        if not cut[at] or _passes_on(recording, person, order[at - 1], order[at], max_distance):
            stays = piece
        elif lengths[piece] >= min_stay:
            label[piece] = stays
    bodies, renumbered = np.unique(label, return_inverse=True)
    body = np.empty_like(person)
    body[order] = np.repeat(renumbered, lengths)
    return body, len(bodies)


def _passes_on(
    recording: Recording, person: NDArray[np.int64], left: np.int64, came: np.int64, max_distance: float
) -> bool:
    """Whether an id that jumps between two rows passes to someone else, who was or will be seen at either place."""

    def seen(at: np.int64, first: int, last: int) -> bool:
        low, high = recording.frame.searchsorted([first, last + 1])
        others = recording.xyz[low:high][person[low:high] != person[at]]
        apart = np.median(np.linalg.norm(others - recording.xyz[at], axis=-1), axis=-1)
        return bool((apart <= max_distance).any())

    before, now = int(recording.frame[left]), int(recording.frame[came])
    return seen(came, now - HANDOVER_FRAMES, now - 1) or seen(left, before + 1, before + HANDOVER_FRAMES)
