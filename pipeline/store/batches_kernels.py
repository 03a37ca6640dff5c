"""The compiled loop of batches.py."""

import numba
import numpy as np
from numpy.typing import NDArray


@numba.njit(cache=True, nogil=True)
def fill_clip(
    motion: NDArray[np.float32],
    first: int,
    T: int,
    bodies: int,
    below: NDArray[np.int64],
    above: NDArray[np.int64],
    weight: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """Resize one clip, `bodies` times T columns of motion (C, V, F) from `first` on, into out (C, frames, V, M).

    Each output frame is (1 - weight) times the frame `below` plus weight times the frame `above`. Values that are not
    finite and absent bodies become 0; bodies beyond M are dropped.
    """
    for c in range(out.shape[0]):
        for v in range(out.shape[2]):
            for m in range(out.shape[3]):
                start = first + m * T
                for t in range(out.shape[1]):
                    value = np.float32(0)
                    if m < bodies:
                        low, high = motion[c, v, start + below[t]], motion[c, v, start + above[t]]
                        between = low * (np.float32(1) - weight[t]) + high * weight[t]
                        if np.isfinite(between):
                            value = between
                    out[c, t, v, m] = value
