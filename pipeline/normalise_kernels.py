"""Compiled loops of normalise.py, of (M, T, V, 3) float32 metres with NaN where missing."""

import numba
import numpy as np
from numpy.typing import NDArray

jit = numba.njit(cache=True, nogil=True)


@jit
def first_known(xyz: NDArray[np.float32], joint: int) -> int:
    """The first frame that shows a joint of the first body; -1 when none does."""
    for t in range(xyz.shape[1]):
        if np.isfinite(xyz[0, t, joint, 0]):
            return t
    return -1


@jit
def moved(xyz: NDArray[np.float32], t: int, joint: int) -> NDArray[np.float32]:
    """The coordinates with the origin where a joint of the first body is in frame t."""
    out = np.empty(xyz.shape, np.float32)
    for m in range(xyz.shape[0]):
        for at in range(xyz.shape[1]):
            for v in range(xyz.shape[2]):
                for axis in range(3):
                    out[m, at, v, axis] = xyz[m, at, v, axis] - xyz[0, t, joint, axis]
    return out


@jit
def across(xyz: NDArray[np.float32], left: int, right: int) -> NDArray[np.float64]:
    """The way from a left to a right joint of the first body, seen from above and summed over the frames that have it.

    Returns (5,) metres: x and z of the sum, the sum of the lengths, x and z of the first that has a length.
    """
    out = np.zeros(5)
    for t in range(xyz.shape[1]):
        x = np.float64(xyz[0, t, right, 0]) - np.float64(xyz[0, t, left, 0])
        z = np.float64(xyz[0, t, right, 2]) - np.float64(xyz[0, t, left, 2])
        if not np.isfinite(x):
            continue
        length = np.sqrt(x * x + z * z)
        if out[2] == 0 and length > 0:
            out[3], out[4] = x, z
        out[0] += x
        out[1] += z
        out[2] += length
    return out
