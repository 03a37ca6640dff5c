"""Compiled loops of ctrgcn.py and pyskl.py over bodies with the file's own zeros, NaN and infinities.

Sums of float32 are float32 and in numpy's order, which along columns is the order of the rows.
"""

import numba
import numpy as np
from numpy.typing import NDArray

jit = numba.njit(cache=True, nogil=True)


@jit
def spread(joints: NDArray[np.float32]) -> np.float32:
    """Return the sum of the variances of x, y and z over all joints of all frames (L, V, 3), in square metres."""
    L, V, _ = joints.shape
    count, total = np.float32(L * V), np.float32(0)
    for axis in range(3):
        mean, variance = np.float32(0), np.float32(0)
        for t in range(L):
            for v in range(V):
                mean += joints[t, v, axis]
        mean /= count
        for t in range(L):
            for v in range(V):
                off = joints[t, v, axis] - mean
                variance += off * off
        total += variance / count
    return total


@jit
def narrow(joints: NDArray[np.float32], max_spread: np.float32) -> NDArray[np.bool_]:
    """Return (L,): whether the extent of a body (L, V, 3) in x is at most max_spread of that in y; False with a NaN."""
    out = np.empty(joints.shape[0], np.bool_)
    for t in range(joints.shape[0]):
        low_x = high_x = joints[t, 0, 0]
        low_y = high_y = joints[t, 0, 1]
        has_nan = False
        for v in range(joints.shape[1]):
            x, y = joints[t, v, 0], joints[t, v, 1]
            has_nan |= np.isnan(x) or np.isnan(y)
            low_x, high_x = min(low_x, x), max(high_x, x)
            low_y, high_y = min(low_y, y), max(high_y, y)
        out[t] = not has_nan and high_x - low_x <= max_spread * (high_y - low_y)
    return out
