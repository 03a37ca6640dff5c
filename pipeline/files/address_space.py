"""The limit of this process's address space, which `ulimit -v` and some batch systems set."""

import resource

from pipeline.errors import SkelepipeError

MIN_BYTES = 1 << 30
"""Smallest limit with which commands run: an ingest was measured to need 0.8 GB, most of it for libraries."""


def require_address_space() -> None:
    """Check that the libraries can be loaded: with less address space, OpenBLAS repeats its allocation for ever.

    Raises:
        SkelepipeError: the limit is too small.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY and limit < MIN_BYTES:
        raise SkelepipeError(
            f"the memory limit of this process (ulimit -v) is {limit / 1e6:,.0f} MB, expected at least "
            f"{MIN_BYTES / 1e6:,.0f} MB, and several GB for a training; raise it, or request more memory from the "
            "batch system"
        )
