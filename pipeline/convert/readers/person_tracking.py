"""Track people across frames: by the tool's ids if it has them, otherwise by the distance of their joints."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline.convert.tool import Unreadable

MAX_IN_FRAME = 100
"""Maximum number of people in one frame; a larger crowd is not a recording of an action."""
MAX_BODIES = 8
"""Maximum number of people kept per recording, those with most joints detected: the limit of `ingest folder`."""
MAX_FRAMES = 100_000
"""Span of frame numbers that is always accepted, however few frames have people: an hour at 30 frames per second."""
MAX_GAP_FRAMES = 30
"""After a longer gap (a second), a returning person gets a new id. The recipe `clean` may still join the two."""
MAX_MOVE, MAX_MOVE_PER_GAP_FRAME = 0.5, 0.05
"""Maximum movement of a person's joints from one frame to the next, and in addition for each frame without a detection,
as a fraction of the person's size. At a height of 1.7 m, 0.5 is 0.85 m; two people in a pair are about a metre
apart."""


@dataclass(slots=True)
class Detections:
    """Detected people: one entry for every person in every frame, with frame numbers that never decrease."""

    frame: list[int] = field(default_factory=list)
    """Frame number of the tool."""
    person: list[int | None] = field(default_factory=list)
    """The tool's id; None if it has none."""
    joints: list[NDArray[np.float64]] = field(default_factory=list)
    """(V, C) positions, NaN where missing."""
    confidence: list[NDArray[np.float64]] = field(default_factory=list)
    """(V,) confidence, NaN where unknown."""

    def add(
        self,
        frame: int,
        person: int | None,
        joints: NDArray[np.float64],
        confidence: NDArray[np.float64] | None = None,
    ) -> None:
        """Add one person in one frame; joints with a coordinate that is not finite are missing."""
        joints = np.where(np.isfinite(joints).all(axis=1, keepdims=True), joints, np.nan)
        if np.isnan(joints).all():
            return
        self.frame.append(frame)
        self.person.append(person)
        self.joints.append(joints)
        self.confidence.append(np.full(len(joints), np.nan) if confidence is None else np.clip(confidence, 0, 1))


def track_people(
    detections: Detections, frames: tuple[int, int] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float32] | None]:
    """Arrange detections as bodies on one time axis.

    Args:
        detections: the detections of all frames.
        frames: the first and the last frame number, including frames without people; None: those with detections.

    Returns:
        (M, T, V, C) positions, NaN where missing, with the best detected people first; and (M, T, V) confidence, or
        None if it is unknown for all joints.

    Raises:
        Unreadable: no person is detected, too many people are in a frame, or the frame numbers span too long a time.
    """
    if not detections.frame:
        raise Unreadable("no person is detected in any frame")
    first, last = frames or (min(detections.frame), max(detections.frame))
    T = last - first + 1
    if max(MAX_FRAMES, 10 * len(detections.frame)) < T:
        raise Unreadable(f"its frame numbers span {T} frames, of which {len({*detections.frame})} have people")
    most_people = max(np.unique(detections.frame, return_counts=True)[1])
    if most_people > MAX_IN_FRAME:
        raise Unreadable(f"{most_people} people in one frame, expected at most {MAX_IN_FRAME}")
    person_index = np.array(_track_by_id(detections) or _track_by_distance(detections))
    weight = np.bincount(person_index, [np.isfinite(joints[:, 0]).sum() for joints in detections.joints])
    kept = np.argsort(-weight, kind="stable")[:MAX_BODIES]
    body_index = {int(person): index for index, person in enumerate(kept)}
    xyz = np.full((len(kept), T, *detections.joints[0].shape), np.nan)
    confidence = np.full(xyz.shape[:3], np.nan, np.float32)
    for row, person in enumerate(person_index.tolist()):
        if person in body_index:
            position = body_index[person], detections.frame[row] - first
            xyz[position], confidence[position] = detections.joints[row], detections.confidence[row]
    return xyz, confidence if np.isfinite(confidence).any() else None


def _track_by_id(detections: Detections) -> list[int]:
    """Number the people by the tool's ids, one number per detection; empty if the ids are missing or not unique."""
    if None in detections.person or len({*zip(detections.frame, detections.person, strict=True)}) < len(
        detections.frame
    ):
        return []
    numbers: dict[int | None, int] = {}
    return [numbers.setdefault(person, len(numbers)) for person in detections.person]


def _track_by_distance(detections: Detections) -> list[int]:
    """Number the people, one number per detection: in each frame, match the nearest known and detected people first."""
    person_index: list[int] = []
    last: dict[int, int] = {}  # row of each person's last detection, for people who may return
    count = row = 0
    while row < len(detections.frame):
        frame, end = detections.frame[row], row
        while end < len(detections.frame) and detections.frame[end] == frame:
            end += 1
        last = {person: other for person, other in last.items() if frame - detections.frame[other] <= MAX_GAP_FRAMES}
        known = sorted(last, key=last.__getitem__)[-MAX_IN_FRAME:]
        distances = _distances(detections, [last[person] for person in known], range(row, end))
        max_distances = [
            MAX_MOVE + MAX_MOVE_PER_GAP_FRAME * (frame - detections.frame[last[person]] - 1) for person in known
        ]
        near = np.argwhere(distances <= np.array(max_distances)[:, None]) if known else ()
        pairs = sorted((distances[old, new], known[old], row + int(new)) for old, new in near)
        person_of: dict[int, int] = {}
        for _, person, new in pairs:
            if new not in person_of and person not in person_of.values():
                person_of[new] = person
        for new in range(row, end):
            if new not in person_of:
                person_of[new], count = count, count + 1
            person_index.append(person_of[new])
            last[person_of[new]] = new
        row = end
    return person_index


def _distances(detections: Detections, old: Sequence[int], new: Sequence[int]) -> NDArray[np.float64]:
    """Return (len(old), len(new)) distances between detections, as a fraction of the people's size.

    A distance is the median over the joints that both have; infinite if they have none in common.
    """
    if not len(old):
        return np.empty((0, len(new)))
    a, b = (np.array([detections.joints[row] for row in rows]) for rows in (old, new))
    a_known, b_known = np.isfinite(a[..., 0]), np.isfinite(b[..., 0])
    size = np.maximum(_size(a, a_known)[:, None], _size(b, b_known)[None])
    distance = np.linalg.norm(a[:, None] - b[None], axis=-1)
    both = a_known[:, None] & b_known[None]
    distance[~both] = np.inf
    ordered = np.sort(distance, axis=-1)
    half = np.maximum(both.sum(axis=-1) - 1, 0) // 2  # the lower of the two middle values, if their number is even
    median = np.take_along_axis(ordered, half[..., None], axis=-1)[..., 0]
    relative: NDArray[np.float64] = np.divide(median, size, out=np.full(size.shape, np.inf), where=size > 0)
    return relative


def _size(joints: NDArray[np.float64], known: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return (n,) diagonals of the bounding boxes of people (n, V, C)."""
    high = np.where(known[..., None], joints, -np.inf).max(axis=1)
    low = np.where(known[..., None], joints, np.inf).min(axis=1)
    diagonal: NDArray[np.float64] = np.linalg.norm(high - low, axis=-1)
    return diagonal
