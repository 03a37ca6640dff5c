"""From a recording's rows to bodies on one time line: by the sensor's ids, mended."""

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline import choose_kernels, follow_kernels
from pipeline.errors import UnusableClip
from pipeline.recording import Clip, Recording


def follow_ids(recording: Recording, *, max_jump: Annotated[float, Field(gt=0)] = 0.25) -> Clip:
    """Give every id of the sensor a body of its own, each row in its true frame; missing is NaN from here on.

    Nothing is moved in time: a person who leaves and returns has a hole of that length (CTR-GCN and pyskl close it).
    An id that stands twice in one frame is two bodies. A joint given as exactly (0, 0, 0), NaN or infinite is missing.

    Args:
        recording: rows in file order.
        max_jump: metres a frame. Where more than half of a body's joints move further than this between two of its
            frames, the id has passed to someone else, and a new body begins; `rejoin` heals a cut made in error.
            Nobody's whole body moves at 0.25 m a frame, 7.5 m/s at the sensor's 30 frames a second.

    Returns:
        A clip with one body for each id or part of one, in the order in which they appear.

    Raises:
        UnusableClip: no frame has a body with a joint in it.
    """
    person = _persons(recording)
    order = np.argsort(person, kind="stable")
    cut = follow_kernels.jumps(recording.xyz, recording.frame, person, order, max_jump)
    body = np.empty_like(person)
    body[order] = _numbered(person[order], cut)
    count = int(body.max(initial=-1)) + 1
    xyz = np.full((count, recording.frames, *recording.xyz.shape[1:]), np.nan, np.float32)
    missing = follow_kernels.place(recording.xyz, recording.frame, body, xyz)
    there = choose_kernels.present(xyz).any(axis=1)
    if not there.any():
        raise UnusableClip("no body in any frame")
    found = int(person.max()) + 1
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
        pose_gap: frames; after more than these a pose is forgotten (who was upright may be squatting), and the distance
            may also be the horizontal one between the middles of both bodies.
    """
    xyz, joined = clip.xyz, 0
    while len(xyz) > 1:
        present = choose_kernels.present(xyz)
        distances = follow_kernels.handovers(xyz, present, max_gap, max_overlap, pose_gap)
        kept, merged = divmod(int(distances.argmin()), len(xyz))
        if distances[kept, merged] > max_distance:
            break
        both = np.where(present[kept][:, None, None], xyz[kept], xyz[merged])
        xyz = np.delete(xyz, merged, axis=0)
        xyz[kept] = both  # merged > kept, so its place is the same
        joined += 1
    return clip.after(xyz, bodies_rejoined=joined)


def _persons(recording: Recording) -> NDArray[np.int64]:
    """(R,) the person that each row is of, in order of appearance; an id twice in one frame is two persons."""
    ids, first, inverse = np.unique(recording.body, return_index=True, return_inverse=True)
    if len(ids) == 1 and (np.diff(recording.frame) > 0).all():
        return np.zeros(len(inverse), np.int64)
    appearance = np.argsort(np.argsort(first))[inverse]
    cell = appearance * recording.frames + recording.frame
    order = np.argsort(cell, kind="stable")
    again = np.diff(cell[order], prepend=-1) == 0
    if not again.any():
        return appearance
    at = np.arange(len(order))
    occurrence = np.empty_like(at)
    occurrence[order] = at - np.maximum.accumulate(np.where(again, 0, at))
    key = occurrence * len(ids) + appearance
    number: NDArray[np.int64] = np.unique(key, return_inverse=True)[1]
    return number


def _numbered(person: NDArray[np.int64], cut: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(R,) body of each row, given rows in order of person and where a person is cut in two; numbered from 0."""
    new = cut.copy()
    new[1:] |= person[1:] != person[:-1]
    return np.cumsum(new)
