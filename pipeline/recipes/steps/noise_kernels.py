"""Compiled measures of the sensor's noise, of (M, T, V, 3) metres with NaN where missing: for choose.py and denoise.py.

All of them are medians, so that neither spikes nor a fast limb count; so the median is what has to be fast.
"""

import numba
import numpy as np
from numpy.typing import NDArray

MEDIAN = 2.366
"""Median of the chi-squared distribution with three degrees of freedom: a squared length over its variance an axis."""

jit = numba.njit(cache=True, nogil=True)


@jit
def select(values: NDArray[np.float64], known: int, rank: int) -> float:
    """What would stand at a rank among the first `known` values, none NaN, were they sorted; what is less is before it.

    Hoare's quickselect with Lomuto's partition, which has no branch on a value: numpy's median guesses wrong at every
    other value, and takes four times as long.
    """
    low, high = 0, known
    while high - low > 1:
        first, middle, last = values[low], values[(low + high) // 2], values[high - 1]
        pivot = max(min(first, middle), min(max(first, middle), last))
        less = low
        for at in range(low, high):
            value = values[at]
            values[at] = values[less]
            values[less] = value
            less += value < pivot
        if rank < less:
            high = less
        elif low < less:
            low = less
        else:  # the pivot is the least: all that equal it go first, or many equal values would take a pass each
            for at in range(low, high):
                value = values[at]
                values[at] = values[low]
                values[low] = value
                low += value == pivot
            if rank < low:
                return float(pivot)
    return float(values[low])


@jit
def median(values: NDArray[np.float64], known: int) -> float:
    """Median of the first `known` values, at least one and none NaN; changes their order."""
    upper = select(values, known, known // 2)
    if known % 2 == 1:
        return upper
    lower = values[0]
    for at in range(1, known // 2):
        lower = max(lower, values[at])
    return float(lower + upper) / 2


@jit
def joint_noise(xyz: NDArray[np.float32]) -> NDArray[np.float64]:
    """(M, V) variance of white noise in a joint's path, of each axis; 0 where there is none to be told.

    With s the noise's variance and ideal motion below a sixth of the frame rate: typical fourth difference squared
    = 70 s + f, second = 6 s + g, f <= g. So s >= (fourth - second) / 64. Medians are typical: flicker is no jitter.
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
                at = known[v]
                bends[v, at], twists[v, at] = bend, twist
                known[v] = at + np.isfinite(twist)
        for v in range(V):
            if known[v] > 0:
                typical = median(twists[v], known[v]) - median(bends[v], known[v])
                out[m, v] = max(0.0, typical) / (64 * MEDIAN)
    return out


@jit
def tremble(xyz: NDArray[np.float32]) -> NDArray[np.float64]:
    """(M,) standard deviation in metres, on one axis, of the white noise that would give a body's second differences.

    From the median of their sizes over all frames, joints and axes; 0 of a body that is nowhere in three frames on end.
    Of white noise of deviation 1 they have deviation sqrt(6), and a normal variable's size has the median 0.6745.
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
