"""Compiled measures of sensor noise in bodies (M, T, V, 3), metres, NaN where missing.

All measures are medians, so that spikes and fast limbs do not count. Therefore the median must be fast.
"""

import numba
import numpy as np
from numpy.typing import NDArray

MEDIAN = 2.366
"""Median of the chi-squared distribution with three degrees of freedom: squared length over variance per axis."""

jit = numba.njit(cache=True, nogil=True)


@jit
def select(values: NDArray[np.float64], known: int, rank: int) -> float:
    """Return the value of a rank among the first `known` values, none NaN; smaller values are moved before that rank.

    Hoare's quickselect with Lomuto's partition, which does not branch on a value. In numpy's median the processor
    mispredicts the branch at every other value, and it takes four times as long.
    """
    low, high = 0, known
    while high - low > 1:
        first, middle, last = values[low], values[(low + high) // 2], values[high - 1]
        pivot = max(min(first, middle), min(max(first, middle), last))
        split = low
        for index in range(low, high):
            value = values[index]
            values[index] = values[split]
            values[split] = value
            split += value < pivot
        if rank < split:
            high = split
        elif low < split:
            low = split
        else:  # the pivot is the minimum: move all equal values first, because otherwise each would take a pass
            for index in range(low, high):
                value = values[index]
                values[index] = values[low]
                values[low] = value
                low += value == pivot
            if rank < low:
                return float(pivot)
    return float(values[low])


@jit
def median(values: NDArray[np.float64], known: int) -> float:
    """Return the median of the first `known` values, at least one and none NaN; changes their order."""
    upper = select(values, known, known // 2)
    if known % 2 == 1:
        return upper
    lower = values[0]
    for index in range(1, known // 2):
        lower = max(lower, values[index])
    return float(lower + upper) / 2


@jit
def joint_noise(xyz: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return (M, V) the variance per axis of the white noise in a joint's path; 0 if it cannot be measured.

    With noise variance s and motion below a sixth of the frame rate, the typical squared fourth difference is 70 s + f,
    and the second 6 s + g, with f <= g. So s >= (fourth - second) / 64. Typical values are medians, because flicker is
    not jitter.
    """
    M, T, V, _ = xyz.shape
    out = np.zeros((M, V))
    bends, twists, known = np.empty((V, T)), np.empty((V, T)), np.empty(V, np.int64)
    for m in range(M):
        known[:] = 0
        for t in range(2, T - 2):
            for v in range(V):
                bend, twist = 0.0, 0.0
                for axis in range(3):
                    x = np.float64(xyz[m, t, v, axis])
                    near = np.float64(xyz[m, t - 1, v, axis] + xyz[m, t + 1, v, axis])
                    far = np.float64(xyz[m, t - 2, v, axis] + xyz[m, t + 2, v, axis])
                    bend += (near - 2 * x) ** 2
                    twist += (far - 4 * near + 6 * x) ** 2
                index = known[v]
                bends[v, index], twists[v, index] = bend, twist
                known[v] = index + np.isfinite(twist)
        for v in range(V):
            if known[v] > 0:
                typical = median(twists[v], known[v]) - median(bends[v], known[v])
                out[m, v] = max(0.0, typical) / (64 * MEDIAN)
    return out


@jit
def tremble(xyz: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return (M,) the standard deviation in metres, per axis, of white noise with the body's second differences.

    It is measured as the median of their absolute values over all frames, joints and axes; 0 for a body that is never
    present in three consecutive frames. The second differences of white noise with deviation 1 have deviation sqrt(6),
    and the absolute value of a standard normal variable has the median 0.6745.
    """
    M, T, V, _ = xyz.shape
    out, bends, known = np.zeros(M), np.empty(T * V * 3), np.zeros(M, np.int64)
    for m in range(M):
        for t in range(1, T - 1):
            for v in range(V):
                for axis in range(3):
                    x = np.float64(xyz[m, t, v, axis])
                    bend = abs(np.float64(xyz[m, t - 1, v, axis]) - 2 * x + np.float64(xyz[m, t + 1, v, axis]))
                    bends[known[m]] = bend
                    known[m] += np.isfinite(bend)
        if known[m] > 0:
            out[m] = median(bends, known[m]) / (0.6745 * np.sqrt(6.0))
    return out
