"""What `make bounds` rests on: compiled with NUMBA_BOUNDSCHECK=1, a kernel that reads outside an array raises."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline.sources.text_kernels import BLOCK, find_breaks

# Reads four numbers from a view of three: the unchecked read is wrong but stays inside allocated memory.
OVERRUN = """
import numpy as np
from numba import njit

@njit(cache=True)
def total(values, count):
    out = 0.0
    for at in range(count):
        out += values[at]
    return out

print(total(np.arange(4.0)[:3], 4))
"""


def overrun(cache: Path, checked: str) -> subprocess.CompletedProcess[str]:
    """Compile and run a kernel that reads one number too many."""
    program = cache / "overrun.py"
    program.write_text(OVERRUN, encoding="utf-8")
    environment = {**os.environ, "NUMBA_BOUNDSCHECK": checked, "NUMBA_DISABLE_JIT": "0", "NUMBA_CACHE_DIR": str(cache)}
    return subprocess.run([sys.executable, program], env=environment, capture_output=True, text=True, check=False)


def test_a_read_outside_an_array_raises_in_checked_code(tmp_path):
    done = overrun(tmp_path, "1")
    assert done.returncode == 1
    assert "IndexError: index is out of bounds" in done.stderr


def test_cached_code_compiled_without_the_check_never_raises(tmp_path):
    """Therefore `make bounds` needs a separate cache: numba ignores how cached code was compiled."""
    assert overrun(tmp_path, "0").stdout == "6.0\n"
    assert overrun(tmp_path, "1").stdout == "6.0\n"


@pytest.mark.kernels
@pytest.mark.skipif(os.environ.get("NUMBA_BOUNDSCHECK") != "1", reason="for `make bounds`")
def test_kernels_are_compiled_with_bounds_checks():
    """Pass output arrays for two blocks and a text of one; cached code without checks would not raise."""
    text = np.zeros(2 * BLOCK, np.uint8)
    with pytest.raises(IndexError):
        find_breaks(text[:BLOCK], np.zeros((2, 2), np.uint64))
