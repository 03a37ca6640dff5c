"""Compiled loops of tracking.py: jumps of ids, and distances at hand-overs from one id to another.

Functions that call each other share this file: numba's cache does not notice an edit in another file.
"""

import numba
import numpy as np
from numpy.typing import NDArray

MAX_COMPARED_IDS = 16
"""Up to this many ids are compared one by one; more are sorted by numpy."""

VELOCITY_FRAMES = 4
"""Frames over which a velocity is measured."""

jit = numba.njit(cache=True, nogil=True)


@jit
def is_known(joint: NDArray[np.float32]) -> bool:
    """Whether the coordinates (3,) of a joint are known: finite, and not exactly the origin."""
    x, y, z = joint[0], joint[1], joint[2]
    return bool(np.isfinite(x) and np.isfinite(y) and np.isfinite(z) and (x != 0 or y != 0 or z != 0))


@jit
def number_ids(frame: NDArray[np.int32], body: NDArray[np.int64], out: NDArray[np.int64]) -> int:
    """Write the number of each row's id, in order of appearance, into out (R,); return the number of ids.

    Return 0 if there are more than MAX_COMPARED_IDS, or if an id occurs twice in a frame.
    """
    ids, seen = np.empty(MAX_COMPARED_IDS, np.int64), np.empty(MAX_COMPARED_IDS, np.int64)
    count = 0
    for row in range(body.shape[0]):
        number = 0
        while number < count and ids[number] != body[row]:
            number += 1
        if number == MAX_COMPARED_IDS or (number < count and seen[number] == frame[row]):
            return 0
        ids[number], seen[number], out[row] = body[row], frame[row], number
        count = max(count, number + 1)
    return count


@jit
def scatter_rows(
    xyz: NDArray[np.float32],
    frame: NDArray[np.int32],
    body: NDArray[np.int64],
    out: NDArray[np.float32],
    present: NDArray[np.bool_],
) -> int:
    """Write the known joints of rows (R, V, 3) into out (M, T, V, 3), full of NaN; return the number of unknown joints.

    Bodies with at least one known joint are marked in present (M,).
    """
    unknown = 0
    for row in range(xyz.shape[0]):
        for joint in range(xyz.shape[1]):
            if is_known(xyz[row, joint]):
                present[body[row]] = True
                for axis in range(3):
                    out[body[row], frame[row], joint, axis] = xyz[row, joint, axis]
            else:
                unknown += 1
    return unknown


@jit
def find_jumps(
    xyz: NDArray[np.float32],
    frame: NDArray[np.int32],
    person: NDArray[np.int64],
    persons: int,
    max_jump: float,
    pace: float,
) -> NDArray[np.bool_]:
    """Return (R,): whether more than half of a person's joints jump at a row; rows (R, V, 3) are sorted by frame.

    A joint jumps if it is further from its position in the person's previous row than max_jump metres, plus pace metres
    for every frame between both rows. Only joints known in both rows count. Rows without a known joint are skipped.
    """
    out, last_rows = np.zeros(person.shape[0], np.bool_), np.empty(persons, np.int64)
    for index in range(persons):
        last_rows[index] = -1
    for row in range(person.shape[0]):
        last_row = last_rows[person[row]]
        common, far, known_here = 0, 0, 0
        for joint in range(xyz.shape[1]):
            if not is_known(xyz[row, joint]):
                continue
            known_here += 1
            if last_row < 0 or not is_known(xyz[last_row, joint]):
                continue
            square = 0.0
            for axis in range(3):
                square += float(xyz[row, joint, axis] - xyz[last_row, joint, axis]) ** 2
            common += 1
            far += square > (max_jump + pace * (frame[row] - frame[last_row] - 1)) ** 2
        out[row] = 2 * far > common
        if known_here > 0:
            last_rows[person[row]] = row
    return out


@jit
def mean_distance(pose: NDArray[np.float32], other: NDArray[np.float32], x: float, y: float, z: float) -> float:
    """Return the mean distance in metres of the joints known in two poses (V, 3), the first moved by x, y and z.

    Infinite without such a joint.
    """
    total, common = 0.0, 0
    for joint in range(pose.shape[0]):
        square = (pose[joint, 0] + x - other[joint, 0]) ** 2
        square += (pose[joint, 1] + y - other[joint, 1]) ** 2
        square += (pose[joint, 2] + z - other[joint, 2]) ** 2
        if np.isfinite(square):
            total += np.sqrt(square)
            common += 1
    return total / common if common else np.inf


@jit
def velocity(body: NDArray[np.float32], t: int, other_t: int) -> tuple[float, float, float]:
    """Return the velocity of a body (T, V, 3) between frames t and other_t, in metres per frame; 0 if unknown."""
    x, y, z, known = 0.0, 0.0, 0.0, 0
    if 0 <= other_t < body.shape[0]:
        for joint in range(body.shape[1]):
            if np.isfinite(body[t, joint, 0]) and np.isfinite(body[other_t, joint, 0]):
                known += 1
                x += (body[t, joint, 0] - body[other_t, joint, 0]) / (t - other_t)
                y += (body[t, joint, 1] - body[other_t, joint, 1]) / (t - other_t)
                z += (body[t, joint, 2] - body[other_t, joint, 2]) / (t - other_t)
    count = max(known, 1)
    return x / count, y / count, z / count


@jit
def horizontal_distance(pose: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Return the horizontal distance in metres of the centres of the joints known in two poses (V, 3), or infinity."""
    x, z, common = 0.0, 0.0, 0
    for joint in range(pose.shape[0]):
        if np.isfinite(pose[joint, 0]) and np.isfinite(other[joint, 0]):
            x += float(other[joint, 0]) - float(pose[joint, 0])
            z += float(other[joint, 2]) - float(pose[joint, 2])
            common += 1
    return float(np.sqrt(x * x + z * z)) / common if common else np.inf


@jit
def handover_distance(first: NDArray[np.float32], left_at: int, second: NDArray[np.float32], came_at: int) -> float:
    """Return the distance in metres between the first body (T, V, 3) at its last frame and the second at its first.

    This is the smaller of two: for a person who stood still in between, and for one who walked on, at the mean of the
    velocities in the last and in the first VELOCITY_FRAMES frames.
    """
    x, y, z = velocity(first, left_at, left_at - VELOCITY_FRAMES)
    next_x, next_y, next_z = velocity(second, came_at, came_at + VELOCITY_FRAMES)
    gap = came_at - left_at
    walked = mean_distance(
        first[left_at], second[came_at], (x + next_x) / 2 * gap, (y + next_y) / 2 * gap, (z + next_z) / 2 * gap
    )
    return min(mean_distance(first[left_at], second[came_at], 0.0, 0.0, 0.0), walked)


@jit
def max_handover_distance(
    xyz: NDArray[np.float32],
    present: NDArray[np.bool_],
    first: int,
    second: int,
    max_gap: int,
    max_overlap: int,
    max_distance: float,
    pace: float,
    pose_gap: int,
) -> float:
    """Return the largest distance at a hand-over between two of the bodies (M, T, V, 3), present in frames (M, T).

    After more than pose_gap frames the distance may also be that of the centres. Infinite if the bodies share more than
    max_overlap frames, or if a hand-over takes more than max_gap frames, or more than max_distance metres plus pace
    metres for every frame in between.
    """
    furthest, shared = 0.0, 0
    last_body, last_t = -1, -1  # body in the last frame that has one (M: both), and that frame
    for t in range(present.shape[1]):
        if present[first, t] and present[second, t]:
            shared += 1
            if shared > max_overlap:
                return np.inf
            distance, gap, current = mean_distance(xyz[first, t], xyz[second, t], 0.0, 0.0, 0.0), 0, xyz.shape[0]
        elif present[first, t] or present[second, t]:
            distance, gap, current = 0.0, 0, first if present[first, t] else second
            if last_body == first + second - current:
                gap = t - last_t - 1
                left_at = t - gap - 1  # `last_t`, but not a literal, for which numba would compile again
                distance = handover_distance(xyz[last_body], left_at, xyz[current], t)
                if gap > pose_gap:
                    distance = min(distance, horizontal_distance(xyz[last_body, left_at], xyz[current, t]))
        else:
            continue
        if gap > max_gap or distance > max_distance + pace * gap:
            return np.inf
        furthest = max(furthest, distance)
        last_body, last_t = current, t
    return furthest


@jit
def handover_matrix(
    xyz: NDArray[np.float32],
    present: NDArray[np.bool_],
    max_gap: int,
    max_overlap: int,
    max_distance: float,
    pace: float,
    pose_gap: int,
) -> NDArray[np.float64]:
    """Return (M, M) `max_handover_distance` of all pairs of bodies (M, T, V, 3); infinite on and below the diagonal."""
    out = np.full((xyz.shape[0], xyz.shape[0]), np.inf)
    for first in range(xyz.shape[0]):
        for second in range(first + 1, xyz.shape[0]):
            limits = (max_gap, max_overlap, max_distance, pace, pose_gap)
            out[first, second] = max_handover_distance(xyz, present, first, second, *limits)
    return out


@jit
def update_handover_matrix(
    out: NDArray[np.float64],
    xyz: NDArray[np.float32],
    present: NDArray[np.bool_],
    joined: NDArray[np.bool_],
    changed: int,
    max_gap: int,
    max_overlap: int,
    max_distance: float,
    pace: float,
    pose_gap: int,
) -> None:
    """Update `handover_matrix` after one body has changed; entries of bodies joined to another become infinite."""
    for body in range(xyz.shape[0]):
        if joined[body]:
            for other in range(xyz.shape[0]):
                out[body, other] = out[other, body] = np.inf
        elif body != changed:
            limits = (max_gap, max_overlap, max_distance, pace, pose_gap)
            first, other = min(body, changed), max(body, changed)
            out[first, other] = max_handover_distance(xyz, present, first, other, *limits)
