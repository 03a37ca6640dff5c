"""Compiled loops of agcn.py, of bodies (M, T, V, 3) float32 metres, zero where they are absent.

Everything turns on whether float32 numbers sum to zero when they are added as numpy adds an array that lies in memory
as (C, T, V, M), which is 2s-AGCN's. Nearly always a sum in any order tells: it is zero when all of its numbers are, and
it is not when it is large beside their sizes. Only else are they added in numpy's order.
"""

import numba
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32] | NDArray[np.float64]

DOUBT = 2e-4
"""A sum above this share of the sum of sizes is no zero in whatever order: a frame of 1,000 joints errs by 1.8e-4."""
PAIRWISE = 128
"""Numbers that numpy adds in eight columns; of more it adds the sums of two halves."""
DEEPEST = 64
"""Halves in halves: no array is so long."""
BUFFER = 8192
"""Numbers that numpy 2 reads at a time, in whole planes of x, y or z, when they do not lie one behind the other."""

jit = numba.njit(cache=True, nogil=True)


@jit
def in_columns(values: Floats, first: int, count: int) -> float:
    """The sum of 1 to PAIRWISE values in numpy's order: every eighth together, those two by two, then the rest."""
    total = values[first]
    whole = count - count % 8
    if whole > 0:
        columns = values[first : first + 8].copy()
        for at in range(8, whole):
            columns[at % 8] += values[first + at]
        for step in (1, 2, 4):
            for at in range(0, 8, 2 * step):
                columns[at] += columns[at + step]
        total = columns[0]
    for at in range(max(whole, 1), count):
        total += values[first + at]
    return float(total)  # of float32 numba makes a float32


@jit
def pairwise(values: Floats) -> float:
    """The sum of values, at least one, in numpy's order: halves, and theirs before that.

    Halves wait on a stack, since numba cannot load a function from its cache that calls itself.
    """
    ends, lefts = np.empty(DEEPEST, np.int64), np.empty(DEEPEST, values.dtype)
    is_right = np.zeros(DEEPEST, np.bool_)
    nought = int(values.size < 0)  # no literal, for which numba would compile the callees once more
    depth = first = nought
    end = values.size
    while True:
        while end - first > PAIRWISE:
            ends[depth], is_right[depth] = end, False
            depth += 1
            end = first + ((end - first) // 2 - (end - first) // 2 % 8)
        total = in_columns(values, first, end - first)
        while depth > 0 and is_right[depth - 1]:
            depth -= 1
            total = lefts[depth] + total
        if depth == 0:
            return float(total)
        lefts[depth - 1], is_right[depth - 1] = total, True
        first, end = end, ends[depth - 1]


@jit
def numpy_sum(body: NDArray[np.float32], first: int, stop: int) -> np.float32:
    """The sum of frames [first, stop) of a body (T, V, 3): all x, then all y, then all z."""
    T, V, _ = body.shape
    count = (stop - first) * V
    planes = np.empty(3 * count, np.float32)
    for axis in range(3):
        for t in range(first, stop):
            for v in range(V):
                planes[axis * count + (t - first) * V + v] = body[t, v, axis]
    lies_together = stop - first == T or 3 * count <= BUFFER
    at_once = 3 * count if lies_together else max(1, BUFFER // count) * count
    total = np.float32(0)
    for at in range(0, 3 * count, at_once):
        total += pairwise(planes[at : at + at_once])
    return total


@numba.njit(cache=True, nogil=True, fastmath={"reassoc"})  # in any order, for what it tells holds in all
def weigh(body: NDArray[np.float32], sums: NDArray[np.float64], sizes: NDArray[np.float64]) -> None:
    """Write each frame's sum and sum of sizes, of a body (T, V, 3), into two arrays (T,)."""
    frames = body.reshape(body.shape[0], body.shape[1] * 3)
    for t in range(frames.shape[0]):
        total, size = np.float32(0), np.float32(0)
        for at in range(frames.shape[1]):
            total += frames[t, at]
            size += abs(frames[t, at])
        sums[t], sizes[t] = total, size


@jit
def is_zero(
    body: NDArray[np.float32], sums: NDArray[np.float64], sizes: NDArray[np.float64], first: int, stop: int
) -> bool:
    """Whether frames [first, stop) of a body (T, V, 3) that was weighed sum to zero."""
    total, size = 0.0, 0.0
    for t in range(first, stop):
        total += sums[t]
        size += sizes[t]
    if size == 0:
        return True
    if abs(total) > DOUBT * size and np.isfinite(size):
        return False
    return bool(numpy_sum(body, first, stop) == 0)


@jit
def is_nobody(xyz: NDArray[np.float32], sums: NDArray[np.float64], sizes: NDArray[np.float64]) -> bool:
    """Whether all of M bodies (M, T, V, 3), weighed (M, T), sum to zero together."""
    M, T, V, _ = xyz.shape
    total, size = 0.0, 0.0
    for m in range(M):
        for t in range(T):
            total += sums[m, t]
            size += sizes[m, t]
    if size == 0:
        return True
    if abs(total) > DOUBT * size and np.isfinite(size):
        return False
    stored = np.empty(xyz.size, np.float32)
    for m in range(M):
        for t in range(T):
            for v in range(V):
                for axis in range(3):
                    stored[((axis * T + t) * V + v) * M + m] = xyz[m, t, v, axis]
    return bool(pairwise(stored) == 0)


@jit
def weigh_all(xyz: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64], bool]:
    """Each frame's sum and sum of sizes, (M, T) both, and whether all bodies (M, T, V, 3) sum to zero together."""
    M, T, _, _ = xyz.shape
    sums, sizes = np.empty((M, T)), np.empty((M, T))
    for m in range(M):
        weigh(xyz[m], sums[m], sizes[m])
    return sums, sizes, is_nobody(xyz, sums, sizes)


@jit
def joints_cancel(frame: NDArray[np.float32], sums: NDArray[np.float32]) -> bool:
    """Whether a frame (V, 3) sums to zero joint by joint; sums (V,) is scratch."""
    for v in range(frame.shape[0]):
        sums[v] = frame[v, 0] + frame[v, 1] + frame[v, 2]
    return bool(pairwise(sums) == 0)


@jit
def repeat(xyz: NDArray[np.float32], frames: int) -> tuple[NDArray[np.float32], bool]:
    """Bodies of so many frames, each its own over and over; and whether all went well, or the peer divides by zero."""
    M, T, V, _ = xyz.shape
    out = np.zeros((M, frames, V, 3), np.float32)
    joints = np.empty(V, np.float32)
    nought = int(frames < 0)  # no literal, for which numba would compile the callees once more
    for m in range(M):
        body = out[m]
        sums, sizes = np.zeros(frames), np.zeros(frames)
        weigh(xyz[m], sums[:T], sizes[:T])
        for t in range(T):
            for v in range(V):
                for axis in range(3):
                    body[t, v, axis] = xyz[m, t, v, axis]
        if is_zero(body, sums, sizes, nought, frames):
            continue
        if is_zero(body, sums, sizes, nought, nought + 1):
            kept = 0
            for t in range(frames):
                seen = t < T and not joints_cancel(xyz[m, t], joints)
                for v in range(V):
                    for axis in range(3):
                        value = body[t, v, axis]
                        body[t, v, axis] *= 0  # no more than the peer does: NaN and infinity leave NaN behind
                        if seen:
                            body[kept, v, axis] = value
                kept += seen
            weigh(body, sums, sizes)
        for t in range(frames):
            is_sure = DOUBT * sizes[t] < abs(sums[t]) < np.inf
            if not is_sure and is_zero(body, sums, sizes, t, t + 1) and is_zero(body, sums, sizes, t, frames):
                if t == 0:
                    return out, False
                for later in range(t, frames):
                    for v in range(V):
                        for axis in range(3):
                            body[later, v, axis] = body[later - t, v, axis]
                break
    return out, True


@jit
def centre(xyz: NDArray[np.float32], joint: int) -> NDArray[np.float32]:
    """The bodies less the first body's joint of the same frame; bodies, and joints, that sum to zero stay."""
    M, T, V, _ = xyz.shape
    sums, sizes, nobody = weigh_all(xyz)
    out = xyz.copy()
    if nobody:
        return out
    for m in range(M):
        if is_zero(xyz[m], sums[m], sizes[m], int(T < 0), T):
            continue
        for t in range(T):
            x, y, z = xyz[0, t, joint, 0], xyz[0, t, joint, 1], xyz[0, t, joint, 2]
            for v in range(V):
                there = np.float32(xyz[m, t, v, 0] + xyz[m, t, v, 1] + xyz[m, t, v, 2] != 0)
                out[m, t, v, 0] = (xyz[m, t, v, 0] - x) * there
                out[m, t, v, 1] = (xyz[m, t, v, 1] - y) * there
                out[m, t, v, 2] = (xyz[m, t, v, 2] - z) * there
    return out


@jit
def turn(
    xyz: NDArray[np.float32], rotation: NDArray[np.float64], sums: NDArray[np.float64], sizes: NDArray[np.float64]
) -> NDArray[np.float32]:
    """The bodies turned by rows that say where x, y and z go to; bodies, and frames, that sum to zero stay."""
    M, T, V, _ = xyz.shape
    out = xyz.copy()
    xx, xy, xz = rotation[0, 0], rotation[0, 1], rotation[0, 2]
    yx, yy, yz = rotation[1, 0], rotation[1, 1], rotation[1, 2]
    zx, zy, zz = rotation[2, 0], rotation[2, 1], rotation[2, 2]
    for m in range(M):
        if is_zero(xyz[m], sums[m], sizes[m], int(T < 0), T):
            continue
        for t in range(T):
            # Asked here first, since numba counts references to arrays, atomically, at each call.
            is_sure = DOUBT * sizes[m, t] < abs(sums[m, t]) < np.inf
            if not is_sure and is_zero(xyz[m], sums[m], sizes[m], t, t + 1):
                continue
            for v in range(V):
                x, y, z = np.float64(xyz[m, t, v, 0]), np.float64(xyz[m, t, v, 1]), np.float64(xyz[m, t, v, 2])
                out[m, t, v, 0] = xx * x + xy * y + xz * z
                out[m, t, v, 1] = yx * x + yy * y + yz * z
                out[m, t, v, 2] = zx * x + zy * y + zz * z
    return out


@jit
def energy(body: NDArray[np.float32]) -> float:
    """The deviations of x, y and z in a body (T, V, 3), summed, over frames that do not sum to zero; 0 without any."""
    T, V, _ = body.shape
    filled, joints = np.empty((3, T * V)), np.empty(V)
    count = np.zeros(1, np.int64)
    for t in range(T):
        for v in range(V):
            joints[v] = np.float64(body[t, v, 0]) + np.float64(body[t, v, 1]) + np.float64(body[t, v, 2])
        if pairwise(joints) == 0:
            continue
        for v in range(V):
            for axis in range(3):
                filled[axis, count[0]] = body[t, v, axis]
            count[0] += 1
    total = 0.0
    if count[0] > 0:
        for axis in range(3):
            mean = pairwise(filled[axis, : count[0]]) / count[0]
            for at in range(count[0]):
                filled[axis, at] = (filled[axis, at] - mean) * (filled[axis, at] - mean)
            total += np.sqrt(pairwise(filled[axis, : count[0]]) / count[0])
    return total
