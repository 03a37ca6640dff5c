"""A loop to see whether loops can be compiled here; it is not kept, so that it is compiled each time."""

import numba
import numpy as np
from numpy.typing import NDArray


@numba.njit(cache=False)
def summed(values: NDArray[np.float64]) -> float:
    """The sum of some numbers."""
    total = 0.0
    for value in values:
        total += value
    return total


def threads() -> int:
    """How many numba would take."""
    return int(numba.get_num_threads())
