"""`make test` fails for a test that takes too long and is not marked, unless it compiled kernels."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TESTS = """
import time, pathlib, os, subprocess, sys
import pytest

def work():
    end = time.process_time() + 0.3
    while time.process_time() < end:
        pass

def test_quick(): pass
def test_waits(): time.sleep(0.4)
def test_busy(): work()
def test_busy_child(): subprocess.run([sys.executable, "-c", "for i in range(4 * 10**7): pass"], check=True)
@pytest.mark.slow
def test_marked(): work()
def test_compiles():
    work()
    (pathlib.Path(os.environ["NUMBA_CACHE_DIR"]) / "k.nbi").touch()
def test_wrong():
    work()
    assert False, "its own failure"
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("limit", "failed"), [(0.2, {"test_busy", "test_busy_child", "test_wrong"}), (0, {"test_wrong"})]
)
def test_only_unmarked_busy_tests_fail(tmp_path: Path, limit: float, failed: set[str]) -> None:
    (tmp_path / "test_it.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = slow\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.support.cpu_limit", f"--cpu-limit={limit}", "-rf", "test_it.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "NUMBA_CACHE_DIR": str(tmp_path), "COLUMNS": "200"},
        capture_output=True,
        text=True,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("FAILED ")]
    assert {line.split("::")[1].split(" ")[0] for line in lines} == failed
    told = [line for line in lines if "mark it pytest.mark.slow" in line]
    assert len(told) == (2 if limit else 0)
    assert ("not run here: slow tests" in done.stdout) == bool(limit)
