"""Compiled loops of follow.py. Functions that call each other share this file: numba does not see edits elsewhere."""

import numba
import numpy as np
from numpy.typing import NDArray

FEW = 16
"""Ids that are told apart by comparing with each; of more, numpy sorts them."""

LATELY = 4
"""Frames by which a velocity is told."""

jit = numba.njit(cache=True, nogil=True)


@jit
def is_known(joint: NDArray[np.float32]) -> bool:
    """Whether a joint (3,) as a file gives it is one: finite, and not exactly the origin."""
    x, y, z = joint[0], joint[1], joint[2]
    return bool(np.isfinite(x) and np.isfinite(y) and np.isfinite(z) and (x != 0 or y != 0 or z != 0))


@jit
def number_ids(frame: NDArray[np.int32], body: NDArray[np.int64], out: NDArray[np.int64]) -> int:
    """Write the number of each row's id, in order of appearance, into out (R,); how many ids there are.

    0 where that does not tell who is who: there are more than FEW, or one stands twice in a frame.
    """
    ids, seen = np.empty(FEW, np.int64), np.empty(FEW, np.int64)
    count = 0
    for row in range(body.shape[0]):
        number = 0
        while number < count and ids[number] != body[row]:
            number += 1
        if number == FEW or (number < count and seen[number] == frame[row]):
            return 0
        ids[number], seen[number], out[row] = body[row], frame[row], number
        count = max(count, number + 1)
    return count


@jit
def place(
    xyz: NDArray[np.float32],
    frame: NDArray[np.int32],
    body: NDArray[np.int64],
    out: NDArray[np.float32],
    there: NDArray[np.bool_],
) -> int:
    """Write rows (R, V, 3) into out (M, T, V, 3), full of NaN, leaving out unknown joints; returns their number.

    Bodies of which a joint is known are marked in there (M,).
    """
    unknown = 0
    for row in range(xyz.shape[0]):
        for joint in range(xyz.shape[1]):
            if is_known(xyz[row, joint]):
                there[body[row]] = True
                for axis in range(3):
                    out[body[row], frame[row], joint, axis] = xyz[row, joint, axis]
            else:
                unknown += 1
    return unknown


@jit
def jumps(
    xyz: NDArray[np.float32],
    frame: NDArray[np.int32],
    person: NDArray[np.int64],
    persons: int,
    max_jump: float,
    pace: float,
) -> NDArray[np.bool_]:
    """(R,) where rows (R, V, 3), frames never falling, have more than half of a person's joints jump.

    True where a row is further from the person's row before it than max_jump metres, and pace metres for every frame
    between them, in more than half of the joints known in both. Rows without a joint are passed over.
    """
    out, lasts = np.zeros(person.shape[0], np.bool_), np.empty(persons, np.int64)
    for one in range(persons):
        lasts[one] = -1
    for row in range(person.shape[0]):
        last = lasts[person[row]]
        known, far, here = 0, 0, 0
        for joint in range(xyz.shape[1]):
            if not is_known(xyz[row, joint]):
                continue
            here += 1
            if last < 0 or not is_known(xyz[last, joint]):
                continue
            square = 0.0
            for axis in range(3):
                square += float(xyz[row, joint, axis] - xyz[last, joint, axis]) ** 2
            known += 1
            far += square > (max_jump + pace * (frame[row] - frame[last] - 1)) ** 2
        out[row] = 2 * far > known
        if here > 0:
            lasts[person[row]] = row
    return out


@jit
def apart(one: NDArray[np.float32], other: NDArray[np.float32], x: float, y: float, z: float) -> float:
    """Mean distance in metres between the joints that two poses (V, 3) both have, the first moved by x, y and z metres.

    Infinite when there is no such joint.
    """
    total, common = 0.0, 0
    for joint in range(one.shape[0]):
        square = (one[joint, 0] + x - other[joint, 0]) ** 2
        square += (one[joint, 1] + y - other[joint, 1]) ** 2
        square += (one[joint, 2] + z - other[joint, 2]) ** 2
        if np.isfinite(square):
            total += np.sqrt(square)
            common += 1
    return total / common if common else np.inf


@jit
def velocity(body: NDArray[np.float32], t: int, then: int) -> tuple[float, float, float]:
    """Metres a frame of a body (T, V, 3) between frame t and another, in x, y and z; 0 where not known."""
    x, y, z, known = 0.0, 0.0, 0.0, 0
    if 0 <= then < body.shape[0]:
        for joint in range(body.shape[1]):
            if np.isfinite(body[t, joint, 0]) and np.isfinite(body[then, joint, 0]):
                known += 1
                x += (body[t, joint, 0] - body[then, joint, 0]) / (t - then)
                y += (body[t, joint, 1] - body[then, joint, 1]) / (t - then)
                z += (body[t, joint, 2] - body[then, joint, 2]) / (t - then)
    count = max(known, 1)
    return x / count, y / count, z / count


@jit
def aside(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Horizontal metres between the middles of the joints that two poses (V, 3) both have; infinite without any."""
    x, z, common = 0.0, 0.0, 0
    for joint in range(one.shape[0]):
        if np.isfinite(one[joint, 0]) and np.isfinite(other[joint, 0]):
            x += float(other[joint, 0]) - float(one[joint, 0])
            z += float(other[joint, 2]) - float(one[joint, 2])
            common += 1
    return float(np.sqrt(x * x + z * z)) / common if common else np.inf


@jit
def stride(one: NDArray[np.float32], left: int, other: NDArray[np.float32], came: int) -> float:
    """Metres between body one (T, V, 3) as it left and the other as it came, had it stood still or walked on.

    Walked on, for the frames between, at the mean of the velocities in the last and first four frames.
    """
    x, y, z = velocity(one, left, left - LATELY)
    next_x, next_y, next_z = velocity(other, came, came + LATELY)
    gap = came - left
    ahead = apart(one[left], other[came], (x + next_x) / 2 * gap, (y + next_y) / 2 * gap, (z + next_z) / 2 * gap)
    return min(apart(one[left], other[came], 0.0, 0.0, 0.0), ahead)


@jit
def handover(
    xyz: NDArray[np.float32],
    present: NDArray[np.bool_],
    one: int,
    other: int,
    max_gap: int,
    max_overlap: int,
    max_distance: float,
    pace: float,
    pose_gap: int,
) -> float:
    """For two of the bodies (M, T, V, 3), present (M, T): the furthest that one is from the other where they take over.

    After more than pose_gap frames only the place counts. Infinite when they share more than max_overlap frames, or
    when a hand-over takes more than max_gap frames, or more than max_distance metres and pace metres for every frame
    between.
    """
    furthest, shared = 0.0, 0
    who, last = -1, -1  # the body of the latest frame that has one (M: both), and that frame
    for t in range(present.shape[1]):
        if present[one, t] and present[other, t]:
            shared += 1
            if shared > max_overlap:
                return np.inf
            way, gap, now = apart(xyz[one, t], xyz[other, t], 0.0, 0.0, 0.0), 0, xyz.shape[0]
        elif present[one, t] or present[other, t]:
            way, gap, now = 0.0, 0, one if present[one, t] else other
            if who == one + other - now:
                gap = t - last - 1
                left = t - gap - 1  # `last`, but no literal, for which numba would compile `stride` once more
                way = stride(xyz[who], left, xyz[now], t)
                if gap > pose_gap:
                    way = min(way, aside(xyz[who, left], xyz[now, t]))
        else:
            continue
        if gap > max_gap or way > max_distance + pace * gap:
            return np.inf
        furthest = max(furthest, way)
        who, last = now, t
    return furthest


@jit
def handovers(
    xyz: NDArray[np.float32],
    present: NDArray[np.bool_],
    max_gap: int,
    max_overlap: int,
    max_distance: float,
    pace: float,
    pose_gap: int,
) -> NDArray[np.float64]:
    """`handover` of every two of M bodies (M, T, V, 3): (M, M), infinite on and below the diagonal."""
    out = np.full((xyz.shape[0], xyz.shape[0]), np.inf)
    for one in range(xyz.shape[0]):
        for other in range(one + 1, xyz.shape[0]):
            rule = (max_gap, max_overlap, max_distance, pace, pose_gap)
            out[one, other] = handover(xyz, present, one, other, *rule)
    return out


@jit
def update_handovers(
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
    """Bring `handovers` up to date after one body has changed; infinite for those that are part of another now."""
    for body in range(xyz.shape[0]):
        if joined[body]:
            for other in range(xyz.shape[0]):
                out[body, other] = out[other, body] = np.inf
        elif body != changed:
            rule = (max_gap, max_overlap, max_distance, pace, pose_gap)
            one, other = min(body, changed), max(body, changed)
            out[one, other] = handover(xyz, present, one, other, *rule)
