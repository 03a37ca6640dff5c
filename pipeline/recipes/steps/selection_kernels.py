"""Compiled loops of selection.py over bodies (M, T, V, 3), metres, NaN where missing."""

import numba
import numpy as np
from numpy.typing import NDArray

jit = numba.njit(cache=True, nogil=True)


@jit
def present(xyz: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return (M, T): whether any joint of a body is known in a frame."""
    out = np.zeros(xyz.shape[:2], np.bool_)
    for m in range(xyz.shape[0]):
        for t in range(xyz.shape[1]):
            for v in range(xyz.shape[2]):
                if np.isfinite(xyz[m, t, v, 0]):
                    out[m, t] = True
                    break
    return out


@jit
def wide_share(xyz: NDArray[np.float32], max_spread: float) -> NDArray[np.float64]:
    """Return (M,) the share of a body's frames in which its extent in x is more than max_spread of that in y."""
    out = np.zeros(xyz.shape[0])
    for m in range(xyz.shape[0]):
        wide, seen = 0, 0
        for t in range(xyz.shape[1]):
            low_x, high_x, low_y, high_y = np.inf, -np.inf, np.inf, -np.inf
            for v in range(xyz.shape[2]):
                x, y = xyz[m, t, v, 0], xyz[m, t, v, 1]
                if np.isfinite(x):
                    low_x, high_x = min(low_x, x), max(high_x, x)
                    low_y, high_y = min(low_y, y), max(high_y, y)
            if high_x >= low_x:
                seen += 1
                wide += high_x - low_x > max_spread * (high_y - low_y)
        if seen > 0:
            out[m] = wide / seen
    return out


@jit
def path_variance(path: NDArray[np.float32]) -> float:
    """Return the variance of a coordinate (T,) over its known frames, minus that of white noise; 0 for fewer than two.

    For noise alone it is below 0 as often as above, so that the mean over many paths is 0.
    """
    total, squares, known = 0.0, 0.0, 0
    bends, windows = 0.0, 0
    for t in range(path.shape[0]):
        if not np.isfinite(path[t]):
            continue
        value = np.float64(path[t])
        total, squares, known = total + value, squares + value * value, known + 1
        if 0 < t < path.shape[0] - 1:
            bend = np.float64(path[t - 1]) - 2 * value + np.float64(path[t + 1])
            if np.isfinite(bend):
                bends, windows = bends + bend * bend, windows + 1
    if known < 2:
        return 0.0
    variance = squares / known - (total / known) ** 2
    noise = bends / (6 * windows) if windows else 0.0  # a squared bend has 1 + 4 + 1 times the variance of the noise
    return variance - noise


@jit
def motion(xyz: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return (M,) the variance over time minus noise, x, y and z summed, averaged over the joints; at least 0."""
    out = np.zeros(xyz.shape[0])
    for m in range(xyz.shape[0]):
        for v in range(xyz.shape[2]):
            for axis in range(3):
                out[m] += path_variance(xyz[m, :, v, axis]) / xyz.shape[2]
    return np.maximum(out, 0)
