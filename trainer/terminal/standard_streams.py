"""Standard streams that were closed by the caller or the reader are replaced by the null device."""

import os
import sys
from contextlib import suppress


def open_missing_streams() -> None:
    """Open the null device in place of standard streams that were closed by the caller, as `>&-` does.

    Otherwise the next file that is opened would take the number of the closed stream, and receive what libraries print.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w" if number else "r", encoding="utf-8", closefd=False))


def discard_output() -> None:
    """Send what is still buffered for standard output to the null device, because its reader has gone."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
