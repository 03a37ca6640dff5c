"""Fail a test without the mark `slow` that uses more CPU time than `--cpu-limit`, so that `make test` stays quick.

CPU time of the test and of the processes that it started, without its fixtures. Compiling kernels does not count: a
test that compiled one is not judged.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import pipeline

LONG_MARKS = ("slow", "thorough", "rehearsal")
CACHE_SUFFIXES = {".nbi", ".nbc"}
"""Files in which numba stores compiled code."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--cpu-limit", type=float, default=0.0, help="CPU seconds for a test without mark slow; 0: any")


def cpu_seconds() -> float:
    """CPU time so far of this process and of its children that have ended."""
    now = os.times()
    return now.user + now.system + now.children_user + now.children_system


def cache_folders() -> list[Path]:
    """The folders that contain numba's caches: next to the kernels, or the one that the environment names."""
    named = os.environ.get("NUMBA_CACHE_DIR")
    return [Path(named)] if named else [Path(pipeline.__path__[0]).parent / name for name in ("pipeline", "trainer")]


def compiled_since(started: float) -> bool:
    """Whether numba has stored compiled code since a time in seconds since the epoch."""
    files = (file for folder in cache_folders() for file in folder.rglob("*") if file.suffix in CACHE_SUFFIXES)
    return any(file.stat().st_mtime >= started for file in files)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    limit = item.config.getoption("--cpu-limit")
    started, before = time.time(), cpu_seconds()
    result = yield
    used = cpu_seconds() - before
    if 0 < limit < used and not any(map(item.get_closest_marker, LONG_MARKS)) and not compiled_since(started):
        pytest.fail(f"took {used:.1f} s of CPU, more than {limit:g}: make it faster, or mark it pytest.mark.slow")
    return result


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.getoption("--cpu-limit"):
        terminalreporter.write_line("not run here: slow tests and bounds checks of kernels (make check), make thorough")
