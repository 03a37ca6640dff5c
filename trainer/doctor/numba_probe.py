"""Probe of `skelepipe doctor`: whether numba and zarr can be imported, and numba's number of threads."""

from collections.abc import Iterator

from pipeline.store import store
from trainer.doctor import numba_probe_kernels
from trainer.doctor.findings import Finding


def examine() -> Iterator[Finding]:
    """Report numba's threads. An import that fails ends this process, which becomes a finding of its own."""
    yield Finding("kernels", "ok", f"numba can be imported; threads: {numba_probe_kernels.thread_count()}")
    yield Finding("store", "ok", f"{store.__name__} can be imported, with zarr and its codecs")
