"""Whether loops compile here, and stores can be read: for `doctor`, in a process of its own."""

import time
from collections.abc import Iterator

import numpy as np

from pipeline.store import store
from trainer.doctor import numba_probe_kernels
from trainer.doctor.findings import Finding

NUMBERS = 1000


def examine() -> Iterator[Finding]:
    """Compile a loop and hold it against numpy; that zarr and its codecs can be imported has been shown by then."""
    started = time.perf_counter()
    found = numba_probe_kernels.summed(np.arange(NUMBERS, dtype=np.float64))
    seconds = time.perf_counter() - started
    if found == NUMBERS * (NUMBERS - 1) / 2:
        yield Finding(
            "kernels", "ok", f"a loop is compiled in {seconds:.1f} s; numba has {numba_probe_kernels.threads()} threads"
        )
    else:
        yield Finding(
            "kernels", "problem", f"a compiled loop adds up to {found}", "pip install --force-reinstall numba"
        )
    yield Finding("store", "ok", f"{store.Store.__module__} can be imported, with zarr and its codecs")
