"""The number of threads that numba uses."""

import numba


def thread_count() -> int:
    """Return numba's number of threads."""
    return int(numba.get_num_threads())
