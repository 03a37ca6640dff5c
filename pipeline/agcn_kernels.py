"""Compiled loops of agcn.py over bodies (T, V, 3), float32 metres, zero where they are absent."""

import numba
import numpy as np
from numpy.typing import NDArray


@numba.njit(cache=True, nogil=True, fastmath={"reassoc"})  # in any order, for what zero_sums.py tells holds in all
def weigh(frames: NDArray[np.float32], sums: NDArray[np.float64], sizes: NDArray[np.float64]) -> None:
    """Write the sum of each row of frames (T, n), and that of its absolute values, into two arrays (T,)."""
    for t in range(frames.shape[0]):
        total, size = np.float32(0), np.float32(0)
        for at in range(frames.shape[1]):
            total += frames[t, at]
            size += abs(frames[t, at])
        sums[t], sizes[t] = total, size


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
    for t in range(T):
        if not there[t]:
            continue
        for v in range(V):
            x, y, z = np.float64(body[t, v, 0]), np.float64(body[t, v, 1]), np.float64(body[t, v, 2])
            for axis in range(3):
                body[t, v, axis] = rotation[axis, 0] * x + rotation[axis, 1] * y + rotation[axis, 2] * z
