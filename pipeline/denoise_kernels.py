"""Compiled loops of denoise.py. All take (M, T, V, 3) float32 metres with NaN where missing, and return a new array."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

SIDE = 7
"""Frames on each side over which the local misfit is averaged: half a second in all."""


MEDIAN = 2.366
"""Median of the chi-squared distribution with three degrees of freedom: a squared length over its variance an axis."""


@njit(cache=True)
def noise_variance(path: NDArray[np.float32]) -> float:
    """Variance of white noise in a joint's path (T, 3), of each axis; 0 where there is none to be told.

    With s the noise's variance and ideal motion below a sixth of the frame rate: typical fourth difference squared
    = 70 s + f, second = 6 s + g, f <= g. So s >= (fourth - second) / 64. Medians are typical: flicker is no jitter.
    """
    bends, twists = np.empty(path.shape[0]), np.empty(path.shape[0])
    windows = 0
    for t in range(2, path.shape[0] - 2):
        bend, twist = 0.0, 0.0
        for axis in range(3):
            x, near = float(path[t, axis]), float(path[t - 1, axis]) + float(path[t + 1, axis])
            bend += (near - 2 * x) ** 2
            twist += (float(path[t - 2, axis]) + float(path[t + 2, axis]) - 4 * near + 6 * x) ** 2
        if np.isfinite(twist):
            bends[windows], twists[windows] = bend, twist
            windows += 1
    if windows == 0:
        return 0.0
    return max(0.0, np.median(twists[:windows]) - np.median(bends[:windows])) / (64 * MEDIAN)


@njit(cache=True)
def joint_noise(body: NDArray[np.float32]) -> NDArray[np.float64]:
    """(V,) `noise_variance` of every joint of a body (T, V, 3)."""
    out = np.empty(body.shape[1])
    for v in range(body.shape[1]):
        out[v] = noise_variance(body[:, v])
    return out


@njit(cache=True)
def distance(path: NDArray[np.float32], one: int, other: int) -> float:
    """Metres between two frames of a joint's path (T, 3); NaN when a frame is missing or outside."""
    if one < 0 or other < 0 or one >= path.shape[0] or other >= path.shape[0]:
        return np.nan
    square = 0.0
    for axis in range(3):
        square += float(path[one, axis] - path[other, axis]) ** 2
    return float(np.sqrt(square))


@njit(cache=True)
def known_median(values: NDArray[np.float64], known: int) -> float:
    """Median of the first `known` values, at least one; sorts them in place (insertion: there are five at most)."""
    for at in range(1, known):
        value, low = values[at], at
        while low > 0 and values[low - 1] > value:
            values[low] = values[low - 1]
            low -= 1
        values[low] = value
    return float(values[known // 2] + values[(known - 1) // 2]) / 2


@njit(cache=True)
def speed(path: NDArray[np.float32], t: int) -> float:
    """Metres a frame about frame t of a path (T, 3), from pairs of frames without t; 0 when there is no pair."""
    halves, known = np.empty(3), 0
    for middle in (t - 2, t, t + 2):
        between = distance(path, middle - 1, middle + 1)
        if not np.isnan(between):
            halves[known] = between / 2
            known += 1
    return known_median(halves, known) if known else 0.0


@njit(cache=True)
def off_median(path: NDArray[np.float32], t: int) -> float:
    """Metres between frame t of a path (T, 3) and the median, axis by axis, of the known among five frames about it."""
    around, square = np.empty(5), 0.0
    for axis in range(3):
        known = 0
        for at in range(max(0, t - 2), min(path.shape[0], t + 3)):
            if np.isfinite(path[at, axis]):
                around[known] = path[at, axis]
                known += 1
        square += (float(path[t, axis]) - known_median(around, known)) ** 2
    return float(np.sqrt(square))


@njit(cache=True)
def off_course(path: NDArray[np.float32], t: int, toward: int) -> float:
    """Metres between frame t of a path (T, 3) and where the two frames before it (toward -1) or after it (1) lead."""
    near, far = t + toward, t + 2 * toward
    if np.isnan(distance(path, near, far)):
        return np.nan
    square = 0.0
    for axis in range(3):
        square += (float(path[t, axis]) - 2 * float(path[near, axis]) + float(path[far, axis])) ** 2
    return float(np.sqrt(square))


@njit(cache=True)
def is_spike(path: NDArray[np.float32], t: int, min_height: float, motion_factor: float) -> bool:
    """Whether a path (T, 3) goes out and comes back within frame t; at an end, whether it comes from nowhere."""
    out, back = distance(path, t - 1, t), distance(path, t, t + 1)
    if out <= min_height or back <= min_height or (np.isnan(out) and np.isnan(back)):
        return False
    limit = min_height + motion_factor * speed(path, t)
    if np.isnan(out) or np.isnan(back):
        toward = 1 if np.isnan(out) else -1
        return min(off_course(path, t, toward) / 2, off_median(path, t)) > limit  # half the evidence, twice the proof
    # An obtuse angle at t is a way on, not out and back. This spares fast motion the medians.
    if out**2 + back**2 <= distance(path, t - 1, t + 1) ** 2:
        return False
    return off_median(path, t) > limit


@njit(cache=True)
def is_pair(path: NDArray[np.float32], t: int, min_height: float, motion_factor: float) -> bool:
    """Whether a path (T, 3) goes out at frame t, stays there for frame t + 1, and comes back."""
    out = distance(path, t - 1, t)
    if not out > min_height:  # nor when it is missing; nearly all frames end here
        return False
    back, across = distance(path, t + 1, t + 2), distance(path, t - 1, t + 2)
    if not (back > min_height and np.isfinite(across)):
        return False
    pace, known = np.empty(3), 0
    for value in (distance(path, t - 2, t - 1), distance(path, t + 2, t + 3), across / 3):
        if np.isfinite(value):
            pace[known] = value
            known += 1
    limit = min_height + motion_factor * known_median(pace, known)
    if out <= limit or back <= limit or out**2 + back**2 <= across**2:
        return False
    for step in (1, 2):
        square = 0.0
        for axis in range(3):
            way = (float(path[t - 1, axis]) * (3 - step) + float(path[t + 2, axis]) * step) / 3
            square += (float(path[t + step - 1, axis]) - way) ** 2
        if square <= limit**2:
            return False
    return True


@njit(cache=True)
def bone(body: NDArray[np.float32], t: int, one: int, other: int) -> float:
    """Metres between two joints of a body (T, V, 3) in a frame; NaN when one is missing or the frame is outside."""
    if not 0 <= t < body.shape[0]:
        return np.nan
    square = 0.0
    for axis in range(3):
        square += (float(body[t, one, axis]) - float(body[t, other, axis])) ** 2
    return float(np.sqrt(square))


@njit(cache=True)
def is_stretched(
    body: NDArray[np.float32], t: int, v: int, before: int, after: int, parents: NDArray[np.int64], min_stretch: float
) -> bool:
    """Whether a bone of joint v of a body (T, V, 3) has another length at t than in the frames before and after.

    Also when there is no bone whose lengths are known: then nothing speaks for the joint.
    """
    compared = False
    for other in range(parents.shape[0]):
        if parents[v] != other and parents[other] != v:
            continue
        here = bone(body, t, v, other)
        left, right = abs(bone(body, before, v, other) - here), abs(bone(body, after, v, other) - here)
        known = np.isfinite(left) or np.isfinite(right)
        compared = compared or known
        if known and not left <= min_stretch and not right <= min_stretch:
            return True
    return not compared


@njit(cache=True)
def despike(
    xyz: NDArray[np.float32],
    parents: NDArray[np.int64],
    min_height: float,
    motion_factor: float,
    min_stretch: float,
    noise_factor: float,
) -> tuple[NDArray[np.float32], int]:
    """The coordinates with spikes made NaN, and how many there were.

    All joints of a body are looked at before any is taken out, since they are held against each other; then once more,
    because beside a high spike a lower one looks like the way back.
    """
    out, spikes = xyz.copy(), 0
    T, V = xyz.shape[1:3]
    at = np.zeros((T, V), np.bool_)
    for m in range(xyz.shape[0]):
        body = out[m]
        jitter = noise_factor * np.sqrt(np.median(joint_noise(body)))
        height, stretch = min_height + jitter, min_stretch + jitter
        for _ in range(2):
            found = 0
            at[:] = False
            for v in range(V):
                path = body[:, v]
                for t in range(T):
                    if not np.isfinite(path[t, 0]):
                        continue
                    if is_spike(path, t, height, motion_factor):
                        at[t, v] |= is_stretched(body, t, v, t - 1, t + 1, parents, stretch)
                    elif (
                        is_pair(path, t, height, motion_factor)
                        and is_stretched(body, t, v, t - 1, t + 2, parents, stretch)
                        and is_stretched(body, t + 1, v, t - 1, t + 2, parents, stretch)
                    ):
                        at[t, v] = at[t + 1, v] = True
            for t in range(T):
                for v in range(V):
                    if at[t, v]:
                        body[t, v] = np.nan
                        found += 1
            spikes += found
            if found == 0:
                break
    return out, spikes


@njit(cache=True)
def rim_slope(path: NDArray[np.float32], rim: int, far: int) -> float:
    """Slope at one rim of a gap in a coordinate (T,), a frame.

    That of the parabola through a known frame behind the rim, the rim and the far rim: the frame two behind, for less
    noise, else the one next to it; else the slope of the straight line.
    """
    outward = 1 if rim > far else -1
    span = float(far - rim)
    across = (float(path[far]) - float(path[rim])) / span
    for reach in (2, 1):
        behind = rim + outward * reach
        if 0 <= behind < path.shape[0] and np.isfinite(path[behind]):
            before = (float(path[rim]) - float(path[behind])) / (rim - behind)
            return (before * abs(span) + across * reach) / (abs(span) + reach)
    return across


@njit(cache=True)
def bridge(path: NDArray[np.float32], start: int, stop: int, out: NDArray[np.float32]) -> None:
    """Write a cubic Hermite piece into out (T,) between two known frames of a coordinate (T,)."""
    span = stop - start
    low, high = float(path[start]), float(path[stop])
    leave, arrive = rim_slope(path, start, stop) * span, rim_slope(path, stop, start) * span
    for t in range(start + 1, stop):
        u = (t - start) / span
        rest = 1 - u
        out[t] = (1 + 2 * u) * rest * rest * low + u * rest * rest * leave
        out[t] += u * u * (3 - 2 * u) * high - u * u * rest * arrive


@njit(cache=True)
def fill(xyz: NDArray[np.float32], max_gap: int) -> tuple[NDArray[np.float32], int]:
    """The coordinates with gaps of at most max_gap frames interpolated, and how many joints that were."""
    out, filled = xyz.copy(), 0
    for m in range(xyz.shape[0]):
        for v in range(xyz.shape[2]):
            last = -1
            for t in range(xyz.shape[1]):
                if not np.isfinite(xyz[m, t, v, 0]):
                    continue
                gap = t - last - 1
                if last >= 0 and 0 < gap <= max_gap:
                    for axis in range(3):
                        bridge(xyz[m, :, v, axis], last, t, out[m, :, v, axis])
                    filled += gap
                last = t
    return out, filled


@njit(cache=True)
def misfit(path: NDArray[np.float64], t: int, out: NDArray[np.float64]) -> float:
    """Write fit less path at frame t of (T, 3) into out (3,): quadratic, over 7 frames or 5.

    Savitzky and Golay 1964: weights (-2 3 6 7 6 3 -2)/21 and (-3 12 17 12 -3)/35.

    Returns:
        The share of white noise's variance that is in the misfit: 1 less the weight in the middle, 14/21 or 18/35; 0,
        with out 0, where frames are missing for both.
    """
    T = path.shape[0]
    wide, narrow = 3 <= t < T - 3, 2 <= t < T - 2
    for axis in range(3):
        if wide:
            far, next_far = path[t - 3, axis] + path[t + 3, axis], path[t - 2, axis] + path[t + 2, axis]
            near = path[t - 1, axis] + path[t + 1, axis]
            out[axis] = (6 * near + 3 * next_far - 2 * far - 14 * path[t, axis]) / 21
            wide = np.isfinite(out[axis])
    if wide:
        return 14 / 21
    for axis in range(3):
        out[axis] = 0.0
        if narrow:
            far, near = path[t - 2, axis] + path[t + 2, axis], path[t - 1, axis] + path[t + 1, axis]
            out[axis] = (12 * near - 3 * far - 18 * path[t, axis]) / 35
            narrow = np.isfinite(out[axis])
    if narrow:
        return 18 / 35
    out[:] = 0.0
    return 0.0


@njit(cache=True)
def smooth_path(path: NDArray[np.float64], noise: float, max_move: float, out: NDArray[np.float32]) -> int:
    """Move a path (T, 3) to its fit by the share of the misfit that noise of a variance explains; how many moved."""
    T, moved = path.shape[0], 0
    misfits, expected, actual = np.empty((T, 3)), np.zeros(T + 1), np.zeros(T + 1)  # the last two summed up to a frame
    for t in range(T):
        expected[t + 1] = expected[t] + misfit(path, t, misfits[t]) * noise * 3
        actual[t + 1] = actual[t] + misfits[t, 0] ** 2 + misfits[t, 1] ** 2 + misfits[t, 2] ** 2
    for t in range(T):
        length = np.sqrt(actual[t + 1] - actual[t])
        if length == 0:
            continue
        first, last = max(0, t - SIDE), min(T, t + SIDE + 1)
        gain = min(1.0, (expected[last] - expected[first]) / (actual[last] - actual[first]))
        gain = min(gain, max_move / length)
        for axis in range(3):
            out[t, axis] = path[t, axis] + gain * misfits[t, axis]
        moved += 1
    return moved


@njit(cache=True)
def smooth(
    xyz: NDArray[np.float32], min_noise: float, max_ratio: float, max_move: float
) -> tuple[NDArray[np.float32], int]:
    """The coordinates with jitter taken out, and how many joints moved."""
    out, moved = xyz.copy(), 0
    for m in range(xyz.shape[0]):
        noise = joint_noise(xyz[m]) - min_noise**2
        most = max_ratio**2 * np.median(noise)
        for v in range(xyz.shape[2]):
            excess = min(noise[v], most)
            if excess > 0:
                moved += smooth_path(xyz[m, :, v].astype(np.float64), excess, max_move, out[m, :, v])
    return out, moved
