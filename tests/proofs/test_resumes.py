import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.thorough
def test_a_resumed_training_equals_an_uninterrupted_one() -> None:
    """The quick form of `make resumes`: a signal after every ninth step, and two stops at random times."""
    command = [sys.executable, "-m", "tests.proofs.resume_points", "--every", "9", "--kills", "2"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    signals, kills = done.stdout.splitlines()[-2:]
    assert int(re.search(r"(\d+) stopped", signals).group(1)) >= 1  # type: ignore[union-attr]
    assert int(re.search(r"(\d+) stopped", kills).group(1)) >= 2  # type: ignore[union-attr]
    assert "BAD" not in done.stdout
