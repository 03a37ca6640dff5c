"""Compiled loops of denoise.py over bodies (M, T, V, 3), float32 metres, NaN where missing."""

import numba
import numpy as np
from numpy.typing import NDArray

MISFIT_FRAMES = 7
"""Frames on each side over which the local misfit is averaged: half a second in total."""

jit = numba.njit(cache=True, nogil=True)


@jit
def distance(path: NDArray[np.float32], t: int, other_t: int) -> float:
    """Return the metres between two frames of a joint's path (T, 3); NaN if a frame is missing or out of range."""
    if t < 0 or other_t < 0 or t >= path.shape[0] or other_t >= path.shape[0]:
        return np.nan
    square = 0.0
    for axis in range(3):
        square += float(path[t, axis] - path[other_t, axis]) ** 2
    return float(np.sqrt(square))


@jit
def known_median(values: NDArray[np.float64], known: int) -> float:
    """Return the median of the first `known` values, at least one; sorts them in place (insertion sort: few values)."""
    for index in range(1, known):
        value, free = values[index], index
        while free > 0 and values[free - 1] > value:
            values[free] = values[free - 1]
            free -= 1
        values[free] = value
    return float(values[known // 2] + values[(known - 1) // 2]) / 2


@jit
def speed(path: NDArray[np.float32], t: int) -> float:
    """Return the speed in metres per frame around frame t of a path (T, 3), measured without frame t; 0 if unknown."""
    speeds, known = np.empty(3), 0
    for middle in (t - 2, t, t + 2):
        moved = distance(path, middle - 1, middle + 1)
        if not np.isnan(moved):
            speeds[known] = moved / 2
            known += 1
    return known_median(speeds, known) if known else 0.0


@jit
def distance_from_median(path: NDArray[np.float32], t: int) -> float:
    """Return the metres between frame t of a path (T, 3) and the median per axis of the known of five frames around."""
    around, square = np.empty(5), 0.0
    for axis in range(3):
        known = 0
        for near_t in range(max(0, t - 2), min(path.shape[0], t + 3)):
            if np.isfinite(path[near_t, axis]):
                around[known] = path[near_t, axis]
                known += 1
        square += (float(path[t, axis]) - known_median(around, known)) ** 2
    return float(np.sqrt(square))


@jit
def distance_from_extrapolation(path: NDArray[np.float32], t: int, toward: int) -> float:
    """Return the metres between frame t of a path (T, 3) and its extrapolation from two frames before or after."""
    near, far = t + toward, t + 2 * toward
    if np.isnan(distance(path, near, far)):
        return np.nan
    square = 0.0
    for axis in range(3):
        square += (float(path[t, axis]) - 2 * float(path[near, axis]) + float(path[far, axis])) ** 2
    return float(np.sqrt(square))


@jit
def is_spike(path: NDArray[np.float32], t: int, min_height: float, motion_factor: float) -> bool:
    """Whether a path (T, 3) leaves and returns within frame t; at an end, whether frame t is far from the rest."""
    away, back = distance(path, t - 1, t), distance(path, t, t + 1)
    if away <= min_height or back <= min_height or (np.isnan(away) and np.isnan(back)):
        return False
    limit = min_height + motion_factor * speed(path, t)
    if np.isnan(away) or np.isnan(back):
        toward = 1 if np.isnan(away) else -1
        # half the evidence, twice the limit
        return min(distance_from_extrapolation(path, t, toward) / 2, distance_from_median(path, t)) > limit
    # With an obtuse angle at t the path continues and does not return. This saves the medians in fast motion.
    if away**2 + back**2 <= distance(path, t - 1, t + 1) ** 2:
        return False
    return distance_from_median(path, t) > limit


@jit
def is_double_spike(path: NDArray[np.float32], t: int, min_height: float, motion_factor: float) -> bool:
    """Whether a path (T, 3) leaves at frame t, stays away in frame t + 1, and returns."""
    away = distance(path, t - 1, t)
    if not away > min_height:  # also false for NaN; nearly all frames return here
        return False
    back, gap_length = distance(path, t + 1, t + 2), distance(path, t - 1, t + 2)
    if not (back > min_height and np.isfinite(gap_length)):
        return False
    speeds, known = np.empty(3), 0
    for value in (distance(path, t - 2, t - 1), distance(path, t + 2, t + 3), gap_length / 3):
        if np.isfinite(value):
            speeds[known] = value
            known += 1
    limit = min_height + motion_factor * known_median(speeds, known)
    if away <= limit or back <= limit or away**2 + back**2 <= gap_length**2:
        return False
    for step in (1, 2):
        square = 0.0
        for axis in range(3):
            line = (float(path[t - 1, axis]) * (3 - step) + float(path[t + 2, axis]) * step) / 3
            square += (float(path[t + step - 1, axis]) - line) ** 2
        if square <= limit**2:
            return False
    return True


@jit
def bone_length(body: NDArray[np.float32], t: int, v: int, other_v: int) -> float:
    """Return the metres between two joints of a body (T, V, 3); NaN if one is missing or the frame is out of range."""
    if not 0 <= t < body.shape[0]:
        return np.nan
    square = 0.0
    for axis in range(3):
        square += (float(body[t, v, axis]) - float(body[t, other_v, axis])) ** 2
    return float(np.sqrt(square))


@jit
def is_stretched(
    body: NDArray[np.float32], t: int, v: int, before: int, after: int, parents: NDArray[np.int64], min_stretch: float
) -> bool:
    """Whether a bone of joint v of a body (T, V, 3) has another length at t than in the frames before and after.

    Also true if no bone has known lengths, because then nothing confirms the joint.
    """
    compared = False
    for other_v in range(parents.shape[0]):
        if parents[v] != other_v and parents[other_v] != v:
            continue
        length = bone_length(body, t, v, other_v)
        change_before, change_after = (
            abs(bone_length(body, before, v, other_v) - length),
            abs(bone_length(body, after, v, other_v) - length),
        )
        known = np.isfinite(change_before) or np.isfinite(change_after)
        compared = compared or known
        if known and not change_before <= min_stretch and not change_after <= min_stretch:
            return True
    return not compared


@jit
def step_lengths(body: NDArray[np.float32], out: NDArray[np.float64]) -> None:
    """Write each joint's `distance` from the previous frame into out (T + 1, V); NaN at both ends."""
    T, V, _ = body.shape
    for v in range(V):
        out[0, v] = out[T, v] = np.nan
    for t in range(1, T):
        for v in range(V):
            square = 0.0
            for axis in range(3):
                square += (body[t - 1, v, axis] - body[t, v, axis]) ** 2
            out[t, v] = np.sqrt(square)


@jit
def find_spikes(
    body: NDArray[np.float32],
    steps: NDArray[np.float64],
    parents: NDArray[np.int64],
    height: float,
    motion_factor: float,
    stretch: float,
    spikes: NDArray[np.bool_],
) -> int:
    """Mark the spikes of a body (T, V, 3) in spikes (T, V); return their number."""
    T, V = spikes.shape
    for t in range(T):
        for v in range(V):
            spikes[t, v] = False
    for t in range(T):
        for v in range(V):
            if steps[t, v] <= height or not np.isfinite(body[t, v, 0]):  # nearly all joints are skipped here
                continue
            path = body[:, v]
            if is_spike(path, t, height, motion_factor):
                spikes[t, v] |= is_stretched(body, t, v, t - 1, t + 1, parents, stretch)
            elif (
                is_double_spike(path, t, height, motion_factor)
                and is_stretched(body, t, v, t - 1, t + 2, parents, stretch)
                and is_stretched(body, t + 1, v, t - 1, t + 2, parents, stretch)
            ):
                spikes[t, v] = spikes[t + 1, v] = True
    count = 0
    for t in range(T):
        for v in range(V):
            count += spikes[t, v]
    return count


@jit
def despike(
    xyz: NDArray[np.float32],
    noise: NDArray[np.float64],
    parents: NDArray[np.int64],
    min_height: float,
    motion_factor: float,
    min_stretch: float,
    noise_factor: float,
) -> tuple[NDArray[np.float32], int]:
    """Return the coordinates with spikes as NaN, and the number of spikes; noise (M, V) is each joint's variance.

    All joints of a body are examined before any is removed, because they are compared with each other. Then it is done
    once more, because next to a high spike a lower one looks like the return.
    """
    out, spikes = xyz.copy(), 0
    M, T, V, _ = xyz.shape
    is_spiked, steps = np.empty((T, V), np.bool_), np.empty((T + 1, V))
    for m in range(M):
        body = out[m]
        jitter = noise_factor * np.sqrt(known_median(noise[m].copy(), V))
        for _ in range(2):
            step_lengths(body, steps)
            found = find_spikes(
                body, steps, parents, min_height + jitter, motion_factor, min_stretch + jitter, is_spiked
            )
            if found == 0:
                break
            for t in range(T):
                for v in range(V):
                    if is_spiked[t, v]:
                        body[t, v, 0] = body[t, v, 1] = body[t, v, 2] = np.nan
            spikes += found
    return out, spikes


@jit
def edge_slope(path: NDArray[np.float32], rim: int, far: int) -> float:
    """Return the slope of a coordinate (T,) per frame at one edge (rim) of a gap.

    It is the slope of the parabola through a known frame behind the edge, the edge and the other edge (far). The frame
    behind is the second one, for less noise, or else the first; without both, the slope is that of the straight line.
    """
    outward = 1 if rim > far else -1
    span = float(far - rim)
    chord = (float(path[far]) - float(path[rim])) / span
    for reach in (2, 1):
        behind = rim + outward * reach
        if 0 <= behind < path.shape[0] and np.isfinite(path[behind]):
            slope_before = (float(path[rim]) - float(path[behind])) / (rim - behind)
            return (slope_before * abs(span) + chord * reach) / (abs(span) + reach)
    return chord


@jit
def interpolate(path: NDArray[np.float32], start: int, stop: int, out: NDArray[np.float32]) -> None:
    """Interpolate between two known frames of a coordinate (T,) with a cubic Hermite spline, into out (T,)."""
    span = stop - start
    low, high = float(path[start]), float(path[stop])
    leave, arrive = edge_slope(path, start, stop) * span, edge_slope(path, stop, start) * span
    for t in range(start + 1, stop):
        u = (t - start) / span
        rest = 1 - u
        out[t] = (1 + 2 * u) * rest * rest * low + u * rest * rest * leave
        out[t] += u * u * (3 - 2 * u) * high - u * u * rest * arrive


@jit
def fill(xyz: NDArray[np.float32], max_gap: int) -> tuple[NDArray[np.float32], int]:
    """Return the coordinates with gaps of up to max_gap frames interpolated, and the number of interpolated joints."""
    out, filled = xyz.copy(), 0
    for m in range(xyz.shape[0]):
        for v in range(xyz.shape[2]):
            last = -1
            for t in range(xyz.shape[1]):
                if not np.isfinite(xyz[m, t, v, 0]):
                    continue
                gap = t - last - 1
                if last >= 0 and 0 < gap <= max_gap:
                    start = t - gap - 1  # `last`, but not a literal, for which numba would compile again
                    for axis in range(3):
                        interpolate(xyz[m, :, v, axis], start, t, out[m, :, v, axis])
                    filled += gap
                last = t
    return out, filled


@jit
def find_misfit(body: NDArray[np.float32], t: int, out: NDArray[np.float64], share: NDArray[np.float64]) -> None:
    """Write the fit minus the path at frame t of a body (T, V, 3) into out (V, 3): quadratic, over 7 frames or 5.

    Savitzky and Golay 1964: weights (-2 3 6 7 6 3 -2)/21 and (-3 12 17 12 -3)/35. share (V,) receives the share of the
    variance of white noise that is in the misfit: 1 minus the weight in the middle, 14/21 or 18/35. Both are 0 where
    frames are missing for either fit.
    """
    T, V, _ = body.shape
    for v in range(V):
        share[v] = 14 / 21 if 3 <= t < T - 3 else 0.0
    if 3 <= t < T - 3:
        for v in range(V):
            for axis in range(3):
                far = np.float64(body[t - 3, v, axis]) + np.float64(body[t + 3, v, axis])
                next_far = np.float64(body[t - 2, v, axis]) + np.float64(body[t + 2, v, axis])
                near = np.float64(body[t - 1, v, axis]) + np.float64(body[t + 1, v, axis])
                out[v, axis] = (6 * near + 3 * next_far - 2 * far - 14 * np.float64(body[t, v, axis])) / 21
    for v in range(V):
        if share[v] > 0 and np.isfinite(out[v, 0]) and np.isfinite(out[v, 1]) and np.isfinite(out[v, 2]):
            continue
        share[v] = 18 / 35 if 2 <= t < T - 2 else 0.0
        for axis in range(3):
            if share[v] > 0:
                far = np.float64(body[t - 2, v, axis]) + np.float64(body[t + 2, v, axis])
                near = np.float64(body[t - 1, v, axis]) + np.float64(body[t + 1, v, axis])
                out[v, axis] = (12 * near - 3 * far - 18 * np.float64(body[t, v, axis])) / 35
                if not np.isfinite(out[v, axis]):
                    share[v] = 0.0
        if share[v] == 0:
            out[v, 0] = out[v, 1] = out[v, 2] = 0.0


@jit
def smooth_body(body: NDArray[np.float32], noise: NDArray[np.float64], max_move: float) -> int:
    """Move each path of a body (T, V, 3) to its fit by the share of the misfit that noise explains; return the count.

    noise (V,) is the variance to remove; paths with 0 are not changed.
    """
    T, V, _ = body.shape
    misfits, shares = np.empty((T, V, 3)), np.empty(V)
    expected, actual = np.zeros((T + 1, V)), np.zeros((T + 1, V))  # cumulative sums over frames
    for t in range(T):
        find_misfit(body, t, misfits[t], shares)
        for v in range(V):
            expected[t + 1, v] = expected[t, v] + shares[v] * noise[v] * 3
            actual[t + 1, v] = actual[t, v] + misfits[t, v, 0] ** 2 + misfits[t, v, 1] ** 2 + misfits[t, v, 2] ** 2
    moved = 0
    for t in range(T):
        first, last = max(0, t - MISFIT_FRAMES), min(T, t + MISFIT_FRAMES + 1)
        for v in range(V):
            length = np.sqrt(actual[t + 1, v] - actual[t, v])
            if noise[v] <= 0 or length == 0:
                continue
            gain = min(1.0, (expected[last, v] - expected[first, v]) / (actual[last, v] - actual[first, v]))
            gain = min(gain, max_move / length)
            for axis in range(3):
                body[t, v, axis] = np.float64(body[t, v, axis]) + gain * misfits[t, v, axis]
            moved += 1
    return moved


@jit
def smooth(
    xyz: NDArray[np.float32], noise: NDArray[np.float64], min_noise: float, max_ratio: float, max_move: float
) -> tuple[NDArray[np.float32], int]:
    """Return the coordinates with less jitter, and the number of moved joints; noise (M, V) is a variance."""
    out, moved = xyz.copy(), 0
    M, _, V, _ = xyz.shape
    excess = np.empty(V)
    for m in range(M):
        for v in range(V):
            excess[v] = noise[m, v] - min_noise**2
        limit = max_ratio**2 * known_median(excess.copy(), V)
        has_noise = False
        for v in range(V):
            excess[v] = min(excess[v], limit)
            has_noise |= excess[v] > 0
        if has_noise:
            moved += smooth_body(out[m], excess, max_move)
    return out, moved
