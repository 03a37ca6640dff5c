import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_an_ingest_killed_anywhere_leaves_nothing_half_done_and_goes_on() -> None:
    """The quick form of `make kills`: some steps and some times, for one and two workers and for jobs."""
    command = [sys.executable, ROOT / "tests" / "kill_points.py", "--steps", "5", "--times", "2", "--workers", "1", "2"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [re.split(r"\s{2,}", line) for line in done.stdout.splitlines()[1:]]
    assert [row[0] for row in rows] == [
        *("1 workers", "2 workers", "1 workers, --force over another store", "2 workers, --force over another store"),
        *("2 jobs, finalise", "2 jobs, finalise, --force over another store"),
    ]
    for _, steps, killed, *_, left, bad in rows:
        assert int(steps) > 100
        assert int(killed) >= 5  # at every step that it was to be killed at
        assert int(left) >= 3
        assert int(bad) == 0
