"""People in frames to bodies that keep their places: by the tool's ids where it has them, else by where they stand."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline.convert.take import Unreadable

MOST_IN_FRAME = 100
"""People in one frame; a crowd of more is no recording of an action."""
MOST_BODIES = 8
"""People kept of one recording, those seen best and longest: as many as `ingest folder` takes for people."""
LONGEST = 100_000
"""Frames that numbers may span however few frames there are: an hour at 30 a second."""
OUT_OF_SIGHT = 30
"""Frames after which somebody who comes back is somebody new: a second. `clean` may still join the two."""
REACH, PACE = 0.5, 0.05
"""How far the joints of one person move from a frame to the next, at most, and more for every frame not seen: as parts
of how large the person is. For somebody of 1.7 m that is 0.85 m, where pairs stand apart by a metre or so."""


@dataclass(slots=True)
class Detections:
    """Who is seen, one entry for every person in every frame, frames never falling."""

    frame: list[int] = field(default_factory=list)
    """Number of the frame, as the tool counts."""
    person: list[int | None] = field(default_factory=list)
    """The tool's id; None where it has none."""
    joints: list[NDArray[np.float64]] = field(default_factory=list)
    """(V, C) positions, NaN where missing."""
    sure: list[NDArray[np.float64]] = field(default_factory=list)
    """(V,) confidence, NaN where unknown."""

    def add(
        self, frame: int, person: int | None, joints: NDArray[np.float64], sure: NDArray[np.float64] | None = None
    ) -> None:
        """Note one person in one frame; joints of which a coordinate is no number are missing."""
        joints = np.where(np.isfinite(joints).all(axis=1, keepdims=True), joints, np.nan)
        if np.isnan(joints).all():
            return
        self.frame.append(frame)
        self.person.append(person)
        self.joints.append(joints)
        self.sure.append(np.full(len(joints), np.nan) if sure is None else np.clip(sure, 0, 1))


def track_people(
    seen: Detections, frames: tuple[int, int] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float32] | None]:
    """Lay sightings out as bodies on one time line.

    Args:
        seen: who is seen where.
        frames: numbers of the first frame and of the last, also of such that show nobody; None: of those seen.

    Returns:
        (M, T, V, C) positions, NaN where missing, those who are seen best first, and (M, T, V) confidence or None
        where nothing is known of any joint.

    Raises:
        Unreadable: nobody is seen, too many at once, or frames are numbered over too long a span.
    """
    if not seen.frame:
        raise Unreadable("nobody is seen in any frame")
    first, last = frames or (min(seen.frame), max(seen.frame))
    T = last - first + 1
    if max(LONGEST, 10 * len(seen.frame)) < T:
        raise Unreadable(f"its frames are numbered over a span of {T}, with people in {len({*seen.frame})}")
    crowd = max(np.unique(seen.frame, return_counts=True)[1])
    if crowd > MOST_IN_FRAME:
        raise Unreadable(f"{crowd} people in one frame, expected at most {MOST_IN_FRAME}")
    who = np.array(_by_id(seen) or _by_place(seen))
    weight = np.bincount(who, [np.isfinite(joints[:, 0]).sum() for joints in seen.joints])
    kept = np.argsort(-weight, kind="stable")[:MOST_BODIES]
    place = {int(person): at for at, person in enumerate(kept)}
    out = np.full((len(kept), T, *seen.joints[0].shape), np.nan)
    sure = np.full(out.shape[:3], np.nan, np.float32)
    for row, person in enumerate(who.tolist()):
        if person in place:
            at = place[person], seen.frame[row] - first
            out[at], sure[at] = seen.joints[row], seen.sure[row]
    return out, sure if np.isfinite(sure).any() else None


def _by_id(seen: Detections) -> list[int]:
    """For each sighting the number of its person by the tool's ids; nothing when these do not tell people apart."""
    if None in seen.person or len({*zip(seen.frame, seen.person, strict=True)}) < len(seen.frame):
        return []
    numbers: dict[int | None, int] = {}
    return [numbers.setdefault(person, len(numbers)) for person in seen.person]


def _by_place(seen: Detections) -> list[int]:
    """For each sighting the number of its person: in each frame the nearest pairs of known and seen people first."""
    who: list[int] = []
    last: dict[int, int] = {}  # by person the row of the last sighting, of those who may come back
    count = row = 0
    while row < len(seen.frame):
        frame, end = seen.frame[row], row
        while end < len(seen.frame) and seen.frame[end] == frame:
            end += 1
        last = {person: at for person, at in last.items() if frame - seen.frame[at] <= OUT_OF_SIGHT}
        known = sorted(last, key=last.__getitem__)[-MOST_IN_FRAME:]
        apart = _apart(seen, [last[person] for person in known], range(row, end))
        reach = [REACH + PACE * (frame - seen.frame[last[person]] - 1) for person in known]
        near = np.argwhere(apart <= np.array(reach)[:, None]) if known else ()
        pairs = sorted((apart[at, now], known[at], row + int(now)) for at, now in near)
        person_of: dict[int, int] = {}
        for _, person, now in pairs:
            if now not in person_of and person not in person_of.values():
                person_of[now] = person
        for now in range(row, end):
            if now not in person_of:
                person_of[now], count = count, count + 1
            who.append(person_of[now])
            last[person_of[now]] = now
        row = end
    return who


def _apart(seen: Detections, before: Sequence[int], now: Sequence[int]) -> NDArray[np.float64]:
    """(len(before), len(now)) how far apart sightings are, as a part of how large the people are.

    It is the median over the joints that both show; infinite when they share none.
    """
    if not len(before):
        return np.empty((0, len(now)))
    a, b = (np.array([seen.joints[row] for row in rows]) for rows in (before, now))
    known, there = np.isfinite(a[..., 0]), np.isfinite(b[..., 0])
    size = np.maximum(_size(a, known)[:, None], _size(b, there)[None])
    apart = np.linalg.norm(a[:, None] - b[None], axis=-1)
    both = known[:, None] & there[None]
    apart[~both] = np.inf
    middle = np.sort(apart, axis=-1)
    half = np.maximum(both.sum(axis=-1) - 1, 0) // 2  # the lower of two middles
    median = np.take_along_axis(middle, half[..., None], axis=-1)[..., 0]
    share: NDArray[np.float64] = np.divide(median, size, out=np.full(size.shape, np.inf), where=size > 0)
    return share


def _size(joints: NDArray[np.float64], known: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(n,) the diagonal of what is seen of people (n, V, C)."""
    high = np.where(known[..., None], joints, -np.inf).max(axis=1)
    low = np.where(known[..., None], joints, np.inf).min(axis=1)
    diagonal: NDArray[np.float64] = np.linalg.norm(high - low, axis=-1)
    return diagonal
