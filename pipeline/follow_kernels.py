"""Compiled loops of follow.py. Functions that call each other share this file: numba does not see edits elsewhere."""

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True)
def is_known(joint: NDArray[np.float32]) -> bool:
    """Whether a joint (3,) as a file gives it is one: finite, and not exactly the origin."""
    x, y, z = joint[0], joint[1], joint[2]
    return bool(np.isfinite(x) and np.isfinite(y) and np.isfinite(z) and (x != 0 or y != 0 or z != 0))


@njit(cache=True)
def place(xyz: NDArray[np.float32], frame: NDArray[np.int32], body: NDArray[np.int64], out: NDArray[np.float32]) -> int:
    """Write rows (R, V, 3) into out (M, T, V, 3), full of NaN, leaving out unknown joints; returns their number."""
    unknown = 0
    for row in range(xyz.shape[0]):
        for joint in range(xyz.shape[1]):
            if is_known(xyz[row, joint]):
                for axis in range(3):
                    out[body[row], frame[row], joint, axis] = xyz[row, joint, axis]
            else:
                unknown += 1
    return unknown


@njit(cache=True)
def jumps(
    xyz: NDArray[np.float32],
    frame: NDArray[np.int32],
    person: NDArray[np.int64],
    order: NDArray[np.int64],
    max_jump: float,
    pace: float,
) -> NDArray[np.bool_]:
    """For rows (R, V, 3) taken in an order of persons and then frames: where more than half of the joints jump.

    Returns (R,) in that order: True where a row is further from the person's row before it than max_jump metres, and
    pace metres for every frame between them, in more than half of the joints known in both. Rows without a joint are
    passed over.
    """
    out = np.zeros(order.shape[0], np.bool_)
    last = -1
    for at in range(order.shape[0]):
        row = order[at]
        if last >= 0 and person[last] != person[row]:
            last = -1
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
        out[at] = 2 * far > known
        if here > 0:
            last = row
    return out


@njit(cache=True)
def apart(one: NDArray[np.float32], other: NDArray[np.float32], ahead: NDArray[np.float64]) -> float:
    """Mean distance in metres between the joints that two poses (V, 3) both have, the first moved by ahead (3,) metres.

    Infinite when there is no such joint.
    """
    total, common = 0.0, 0
    for joint in range(one.shape[0]):
        square = 0.0
        for axis in range(3):
            square += (float(one[joint, axis]) + ahead[axis] - float(other[joint, axis])) ** 2
        if np.isfinite(square):
            total += np.sqrt(square)
            common += 1
    return total / common if common else np.inf


@njit(cache=True)
def velocity(body: NDArray[np.float32], t: int, span: int) -> NDArray[np.float64]:
    """(3,) metres a frame of a body (T, V, 3) from frame t - span to t; span may be negative; 0 where not known."""
    out = np.zeros(3)
    if not 0 <= t - span < body.shape[0]:
        return out
    known = 0
    for joint in range(body.shape[1]):
        if np.isfinite(body[t, joint, 0]) and np.isfinite(body[t - span, joint, 0]):
            known += 1
            for axis in range(3):
                out[axis] += (float(body[t, joint, axis]) - float(body[t - span, joint, axis])) / span
    return out / max(known, 1)


@njit(cache=True)
def aside(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Horizontal metres between the middles of the joints that two poses (V, 3) both have; infinite without any."""
    x, z, common = 0.0, 0.0, 0
    for joint in range(one.shape[0]):
        if np.isfinite(one[joint, 0]) and np.isfinite(other[joint, 0]):
            x += float(other[joint, 0]) - float(one[joint, 0])
            z += float(other[joint, 2]) - float(one[joint, 2])
            common += 1
    return float(np.sqrt(x * x + z * z)) / common if common else np.inf


@njit(cache=True)
def stride(one: NDArray[np.float32], left: int, other: NDArray[np.float32], came: int) -> float:
    """Metres between body one (T, V, 3) as it left and the other as it came, had it stood still or walked on.

    Walked on, for the frames between, at the mean of the velocities in the last and first four frames.
    """
    ahead = (velocity(one, left, 4) + velocity(other, came, -4)) / 2 * (came - left)
    return min(apart(one[left], other[came], np.zeros(3)), apart(one[left], other[came], ahead))


@njit(cache=True)
def handover(
    xyz: NDArray[np.float32],
    present: NDArray[np.bool_],
    max_gap: int,
    max_overlap: int,
    max_distance: float,
    pace: float,
    pose_gap: int,
) -> float:
    """For two bodies (2, T, V, 3), present (2, T): the furthest that one is from the other where they take over.

    After more than pose_gap frames only the place counts. Infinite when they share more than max_overlap frames, or
    when a hand-over takes more than max_gap frames, or more than max_distance metres and pace metres for every frame
    between.
    """
    furthest, shared = 0.0, 0
    who, last = -1, -1  # the body of the latest frame that has one (2: both), and that frame
    for t in range(present.shape[1]):
        if present[0, t] and present[1, t]:
            shared += 1
            if shared > max_overlap:
                return np.inf
            way, gap, now = apart(xyz[0, t], xyz[1, t], np.zeros(3)), 0, 2
        elif present[0, t] or present[1, t]:
            way, gap, now = 0.0, 0, 0 if present[0, t] else 1
            if who == 1 - now:
                way, gap = stride(xyz[who], last, xyz[now], t), t - last - 1
                if gap > pose_gap:
                    way = min(way, aside(xyz[who, last], xyz[now, t]))
        else:
            continue
        if gap > max_gap or way > max_distance + pace * gap:
            return np.inf
        furthest = max(furthest, way)
        who, last = now, t
    return furthest


@njit(cache=True)
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
            step = other - one
            pair, there = xyz[one : other + 1 : step], present[one : other + 1 : step]
            out[one, other] = handover(pair, there, max_gap, max_overlap, max_distance, pace, pose_gap)
    return out


@njit(cache=True)
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
            out[body, :] = np.inf
            out[:, body] = np.inf
        elif body != changed:
            one, other = min(body, changed), max(body, changed)
            step = other - one
            pair, there = xyz[one : other + 1 : step], present[one : other + 1 : step]
            out[one, other] = handover(pair, there, max_gap, max_overlap, max_distance, pace, pose_gap)
