"""Compiled loops of normalisation and resampling of bodies (M, T, V, 3), float32 metres."""

import numba
import numpy as np
from numpy.typing import NDArray

jit = numba.njit(cache=True, nogil=True)


@jit
def first_known(xyz: NDArray[np.float32], joint: int) -> int:
    """Return the first frame that shows a joint of the first body, or -1."""
    for t in range(xyz.shape[1]):
        if np.isfinite(xyz[0, t, joint, 0]):
            return t
    return -1


@jit
def translated(xyz: NDArray[np.float32], t: int, joint: int) -> NDArray[np.float32]:
    """Return the coordinates with the origin at a joint of the first body in frame t."""
    out = np.empty(xyz.shape, np.float32)
    for m in range(xyz.shape[0]):
        for each_t in range(xyz.shape[1]):
            for v in range(xyz.shape[2]):
                for axis in range(3):
                    out[m, each_t, v, axis] = xyz[m, each_t, v, axis] - xyz[0, t, joint, axis]
    return out


@jit
def shoulder_direction(xyz: NDArray[np.float32], left: int, right: int) -> NDArray[np.float64]:
    """Sum the horizontal vector from a left to a right joint of the first body over the frames that have both.

    Returns (5,) metres: x and z of the sum, the sum of the lengths, x and z of the first vector with a length.
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


@jit
def centred(xyz: NDArray[np.float32], joint: int) -> NDArray[np.float32]:
    """Return the coordinates of each body relative to one of its joints in the same frame."""
    out = np.empty(xyz.shape, np.float32)
    for m in range(xyz.shape[0]):
        for t in range(xyz.shape[1]):
            for v in range(xyz.shape[2]):
                for axis in range(3):
                    out[m, t, v, axis] = xyz[m, t, v, axis] - xyz[m, t, joint, axis]
    return out


@jit
def rotated(xyz: NDArray[np.float32], cos: NDArray[np.float32], sin: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the coordinates rotated about y by an angle for each body and frame, given as cosine and sine (M, T)."""
    out = np.empty(xyz.shape, np.float32)
    for m in range(xyz.shape[0]):
        for t in range(xyz.shape[1]):
            c, s = np.float64(cos[m, t]), np.float64(sin[m, t])
            for v in range(xyz.shape[2]):
                x, z = np.float64(xyz[m, t, v, 0]), np.float64(xyz[m, t, v, 2])
                out[m, t, v, 0] = x * c - z * s
                out[m, t, v, 1] = xyz[m, t, v, 1]
                out[m, t, v, 2] = x * s + z * c
    return out


@jit
def interpolated(
    xyz: NDArray[np.float32], below: NDArray[np.int64], above: NDArray[np.int64], weight: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Interpolate between pairs of frames: below has weight 1 - weight, above has weight (three arrays (T,))."""
    M, _, V, _ = xyz.shape
    out = np.empty((M, below.shape[0], V, 3), np.float32)
    for m in range(M):
        for t in range(below.shape[0]):
            low, high, high_weight = below[t], above[t], weight[t]
            low_weight = np.float32(1) - high_weight
            for v in range(V):
                for axis in range(3):
                    out[m, t, v, axis] = xyz[m, low, v, axis] * low_weight + xyz[m, high, v, axis] * high_weight
    return out
