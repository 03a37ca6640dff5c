"""Compiled loops of denoise.py. All take (M, T, V, 3) float32 metres with NaN where missing, and return a new array."""

import numba
import numpy as np
from numpy.typing import NDArray

SIDE = 7
"""Frames on each side over which the local misfit is averaged: half a second in all."""

jit = numba.njit(cache=True, nogil=True)


@jit
def distance(path: NDArray[np.float32], one: int, other: int) -> float:
    """Metres between two frames of a joint's path (T, 3); NaN when a frame is missing or outside."""
    if one < 0 or other < 0 or one >= path.shape[0] or other >= path.shape[0]:
        return np.nan
    square = 0.0
    for axis in range(3):
        square += float(path[one, axis] - path[other, axis]) ** 2
    return float(np.sqrt(square))


@jit
def known_median(values: NDArray[np.float64], known: int) -> float:
    """Median of the first `known` values, at least one; sorts them in place (by insertion: there are few)."""
    for at in range(1, known):
        value, low = values[at], at
        while low > 0 and values[low - 1] > value:
            values[low] = values[low - 1]
            low -= 1
        values[low] = value
    return float(values[known // 2] + values[(known - 1) // 2]) / 2


@jit
def speed(path: NDArray[np.float32], t: int) -> float:
    """Metres a frame about frame t of a path (T, 3), from pairs of frames without t; 0 when there is no pair."""
    halves, known = np.empty(3), 0
    for middle in (t - 2, t, t + 2):
        between = distance(path, middle - 1, middle + 1)
        if not np.isnan(between):
            halves[known] = between / 2
            known += 1
    return known_median(halves, known) if known else 0.0


@jit
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


@jit
def off_course(path: NDArray[np.float32], t: int, toward: int) -> float:
    """Metres between frame t of a path (T, 3) and where the two frames before it (toward -1) or after it (1) lead."""
    near, far = t + toward, t + 2 * toward
    if np.isnan(distance(path, near, far)):
        return np.nan
    square = 0.0
    for axis in range(3):
        square += (float(path[t, axis]) - 2 * float(path[near, axis]) + float(path[far, axis])) ** 2
    return float(np.sqrt(square))


@jit
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


@jit
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


@jit
def bone(body: NDArray[np.float32], t: int, one: int, other: int) -> float:
    """Metres between two joints of a body (T, V, 3) in a frame; NaN when one is missing or the frame is outside."""
    if not 0 <= t < body.shape[0]:
        return np.nan
    square = 0.0
    for axis in range(3):
        square += (float(body[t, one, axis]) - float(body[t, other, axis])) ** 2
    return float(np.sqrt(square))


@jit
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


@jit
def strides(body: NDArray[np.float32], out: NDArray[np.float64]) -> None:
    """Write each joint's `distance` from the frame before into out (T + 1, V); NaN at both ends."""
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
    ways: NDArray[np.float64],
    parents: NDArray[np.int64],
    height: float,
    motion_factor: float,
    stretch: float,
    at: NDArray[np.bool_],
) -> int:
    """Mark the spikes of a body (T, V, 3) in at (T, V); how many there are."""
    T, V = at.shape
    for t in range(T):
        for v in range(V):
            at[t, v] = False
    for t in range(T):
        for v in range(V):
            if ways[t, v] <= height or not np.isfinite(body[t, v, 0]):  # nearly all end here
                continue
            path = body[:, v]
            if is_spike(path, t, height, motion_factor):
                at[t, v] |= is_stretched(body, t, v, t - 1, t + 1, parents, stretch)
            elif (
                is_pair(path, t, height, motion_factor)
                and is_stretched(body, t, v, t - 1, t + 2, parents, stretch)
                and is_stretched(body, t + 1, v, t - 1, t + 2, parents, stretch)
            ):
                at[t, v] = at[t + 1, v] = True
    found = 0
    for t in range(T):
        for v in range(V):
            found += at[t, v]
    return found


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
    """The coordinates with spikes made NaN, and how many there were; noise (M, V) is each joint's variance.

    All joints of a body are looked at before any is taken out, since they are held against each other; then once more,
    because beside a high spike a lower one looks like the way back.
    """
    out, spikes = xyz.copy(), 0
    M, T, V, _ = xyz.shape
    at, ways = np.empty((T, V), np.bool_), np.empty((T + 1, V))
    for m in range(M):
        body = out[m]
        jitter = noise_factor * np.sqrt(known_median(noise[m].copy(), V))
        for _ in range(2):
            strides(body, ways)
            found = find_spikes(body, ways, parents, min_height + jitter, motion_factor, min_stretch + jitter, at)
            if found == 0:
                break
            for t in range(T):
                for v in range(V):
                    if at[t, v]:
                        body[t, v, 0] = body[t, v, 1] = body[t, v, 2] = np.nan
            spikes += found
    return out, spikes


@jit
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


@jit
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


@jit
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
                    start = t - gap - 1  # `last`, but no literal, for which numba would compile `bridge` once more
                    for axis in range(3):
                        bridge(xyz[m, :, v, axis], start, t, out[m, :, v, axis])
                    filled += gap
                last = t
    return out, filled


@jit
def misfit(body: NDArray[np.float32], t: int, out: NDArray[np.float64], share: NDArray[np.float64]) -> None:
    """Write fit less path at frame t of a body (T, V, 3) into out (V, 3): quadratic, over 7 frames or 5.

    Savitzky and Golay 1964: weights (-2 3 6 7 6 3 -2)/21 and (-3 12 17 12 -3)/35. Into share (V,) goes how much of
    white noise's variance is in the misfit: 1 less the weight in the middle, 14/21 or 18/35; 0, with out 0, where
    frames are missing for both.
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
    """Move each path of a body (T, V, 3) to its fit by the share of the misfit that noise explains; how many moved.

    noise (V,) is the variance that is to go; a path without stays as it is.
    """
    T, V, _ = body.shape
    misfits, share = np.empty((T, V, 3)), np.empty(V)
    expected, actual = np.zeros((T + 1, V)), np.zeros((T + 1, V))  # summed up to a frame
    for t in range(T):
        misfit(body, t, misfits[t], share)
        for v in range(V):
            expected[t + 1, v] = expected[t, v] + share[v] * noise[v] * 3
            actual[t + 1, v] = actual[t, v] + misfits[t, v, 0] ** 2 + misfits[t, v, 1] ** 2 + misfits[t, v, 2] ** 2
    moved = 0
    for t in range(T):
        first, last = max(0, t - SIDE), min(T, t + SIDE + 1)
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
    """The coordinates with jitter taken out, and how many joints moved; noise (M, V) is each joint's variance."""
    out, moved = xyz.copy(), 0
    M, _, V, _ = xyz.shape
    excess = np.empty(V)
    for m in range(M):
        for v in range(V):
            excess[v] = noise[m, v] - min_noise**2
        most = max_ratio**2 * known_median(excess.copy(), V)
        some = False
        for v in range(V):
            excess[v] = min(excess[v], most)
            some |= excess[v] > 0
        if some:
            moved += smooth_body(out[m], excess, max_move)
    return out, moved
