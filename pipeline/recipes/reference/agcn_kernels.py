"""Compiled loops of agcn.py and zero_sums.py over bodies (T, V, 3), float32 metres, zero where absent."""

import numba
import numpy as np
from numpy.typing import NDArray

ZERO, DOUBTFUL, NONZERO = 0, 1, 2
"""Whether a sum is zero in any order of its numbers, only in some orders, or in none."""

MAX_ERROR_SHARE = 2e-4
"""A sum above this share of the sum of absolute values is zero in no order: the rounding error of a frame of 1,000
joints is at most 1.8e-4."""


@numba.njit(cache=True, nogil=True, inline="always")
def verdict(total: float, size: float) -> int:
    """Return ZERO, DOUBTFUL or NONZERO, from a sum in some order and the sum of absolute values."""
    if size == 0:
        return ZERO
    return NONZERO if MAX_ERROR_SHARE * size < abs(total) < np.inf else DOUBTFUL


@numba.njit(cache=True, nogil=True, fastmath={"reassoc"})
def sum_rows(
    frames: NDArray[np.float32], sums: NDArray[np.float64], sizes: NDArray[np.float64], verdicts: NDArray[np.int8]
) -> None:
    """Write the sum of each row of frames (T, n), the sum of absolute values and the verdict into three arrays (T,)."""
    for t in range(frames.shape[0]):
        total, size = np.float32(0), np.float32(0)
        for index in range(frames.shape[1]):
            total += frames[t, index]
            size += abs(frames[t, index])
        sums[t], sizes[t] = total, size
        verdicts[t] = verdict(sums[t], sizes[t])


@numba.njit(cache=True, nogil=True)
def sum_of_sums(sums: NDArray[np.float64], sizes: NDArray[np.float64]) -> int:
    """Return the verdict on the sum over frames, from their sums and sums of absolute values (T,)."""
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
            present = np.float32(x + y + z != 0)
            body[t, v, 0] = (x - origins[t, 0]) * present
            body[t, v, 1] = (y - origins[t, 1]) * present
            body[t, v, 2] = (z - origins[t, 2]) * present


@numba.njit(cache=True, nogil=True)
def rotate(body: NDArray[np.float32], present: NDArray[np.bool_], rotation: NDArray[np.float64]) -> None:
    """Rotate the frames marked in present (T,) in place; the rows of the rotation give the new x, y and z."""
    T, V, _ = body.shape
    xx, xy, xz = rotation[0]
    yx, yy, yz = rotation[1]
    zx, zy, zz = rotation[2]
    for t in range(T):
        if not present[t]:
            continue
        for v in range(V):
            x, y, z = np.float64(body[t, v, 0]), np.float64(body[t, v, 1]), np.float64(body[t, v, 2])
            body[t, v, 0] = xx * x + xy * y + xz * z
            body[t, v, 1] = yx * x + yy * y + yz * z
            body[t, v, 2] = zx * x + zy * y + zz * z
