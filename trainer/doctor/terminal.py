"""Whether the terminal, or whatever takes the output, can show what is printed."""

import os
import shutil
import sys
from collections.abc import Iterator

from trainer.doctor.findings import Finding

NARROW = 60
"""Columns below which tables are hard to read."""
SAMPLE = "─ ± ─►"
"""Characters that are printed now and then."""


def examine() -> Iterator[Finding]:
    """Encoding and width."""
    encoding = sys.stdout.encoding or "none"
    to = f"a terminal of {shutil.get_terminal_size().columns} columns" if sys.stdout.isatty() else "a file or a pipe"
    said = f"{to}, {encoding}{', no colours' if os.environ.get('NO_COLOR') else ''}"
    try:
        SAMPLE.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        yield Finding("terminal", "note", f"{said}: some characters cannot be shown", "PYTHONUTF8=1, or LANG=C.UTF-8")
        return
    if sys.stdout.isatty() and shutil.get_terminal_size().columns < NARROW:
        yield Finding("terminal", "note", f"{said}: narrow", f"make it {NARROW} columns wide, or take --json")
        return
    yield Finding("terminal", "ok", said)
