"""Standard streams that were closed by the caller are replaced by the null device."""

import os
import sys


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
