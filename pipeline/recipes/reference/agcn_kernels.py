"""Compiled loops of agcn.py over bodies (T, V, 3), float32 metres, zero where they are absent."""

import numba
import numpy as np
from numpy.typing import NDArray

ZERO, DOUBTFUL, OTHER = 0, 1, 2
"""What a sum is in whatever order its numbers are added: zero, perhaps zero, or anything but zero."""

SHARE = 2e-4
"""A sum above this share of the sum of sizes is no zero in whatever order: a frame of 1,000 joints errs by 1.8e-4."""


@numba.njit(cache=True, nogil=True, inline="always")
def verdict(total: float, size: float) -> int:
    """ZERO, DOUBTFUL or OTHER, of a sum in some order and the sum of sizes."""
    if size == 0:
        return ZERO
    return OTHER if SHARE * size < abs(total) < np.inf else DOUBTFUL


@numba.njit(cache=True, nogil=True, fastmath={"reassoc"})
def weigh(
    frames: NDArray[np.float32], sums: NDArray[np.float64], sizes: NDArray[np.float64], verdicts: NDArray[np.int8]
) -> None:
    """Write the sum of each row of frames (T, n), the sum of its sizes, and the verdict, into three arrays (T,)."""
    for t in range(frames.shape[0]):
        total, size = np.float32(0), np.float32(0)
        for at in range(frames.shape[1]):
            total += frames[t, at]
            size += abs(frames[t, at])
        sums[t], sizes[t] = total, size
        verdicts[t] = verdict(sums[t], sizes[t])


@numba.njit(cache=True, nogil=True)
def weigh_together(sums: NDArray[np.float64], sizes: NDArray[np.float64]) -> int:
    """The verdict on frames (T,) that were weighed, taken together."""
    total, size = 0.0, 0.0
    for t in range(sums.size):
        total += sums[t]
        size += sizes[t]
    return verdict(total, size)


@numba.njit(cache=True, nogil=True)
def centre(body: NDArray[np.float32], origins: NDArray[np.float32]) -> None:
    """Subtract each frame's origin (T, 3) in place; a joint whose coordinates sum to zero becomes zero."""
    T, V, _ = body.shape
    for t in range(T):
        for v in range(V):
            x, y, z = body[t, v, 0], body[t, v, 1], body[t, v, 2]
            there = np.float32(x + y + z != 0)
            body[t, v, 0] = (x - origins[t, 0]) * there
            body[t, v, 1] = (y - origins[t, 1]) * there
            body[t, v, 2] = (z - origins[t, 2]) * there


@numba.njit(cache=True, nogil=True)
def turn(body: NDArray[np.float32], there: NDArray[np.bool_], rotation: NDArray[np.float64]) -> None:
    """Turn the frames that are there (T,) in place, by rows that say where x, y and z go to."""
    T, V, _ = body.shape
    xx, xy, xz = rotation[0]
    yx, yy, yz = rotation[1]
    zx, zy, zz = rotation[2]
    for t in range(T):
        if not there[t]:
            continue
        for v in range(V):
            x, y, z = np.float64(body[t, v, 0]), np.float64(body[t, v, 1]), np.float64(body[t, v, 2])
            body[t, v, 0] = xx * x + xy * y + xz * z
            body[t, v, 1] = yx * x + yy * y + yz * z
            body[t, v, 2] = zx * x + zy * y + zz * z
