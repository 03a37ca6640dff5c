"""Run a command and record the memory of all its processes."""

import os
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
INTERVAL = 0.1
"""Seconds between two memory measurements."""


@dataclass(frozen=True, slots=True)
class Watched:
    """The measurements of a successful command."""

    seconds: float
    output: str
    peak: int
    """Peak memory of all its processes together, in bytes; shared pages are counted once."""


def watch(
    command: Sequence[str | Path], environment: Mapping[str, str] | None = None, good: Sequence[int] = (0,)
) -> Watched:
    """Run a command and return its standard output, wall time and peak memory.

    Raises:
        SystemExit: the exit code is not in `good`.
    """
    started = time.perf_counter()
    process = subprocess.Popen(
        list(map(str, command)), env={**os.environ, **(environment or {})}, stdout=subprocess.PIPE, text=True
    )
    peak, ended = 0, threading.Event()

    def look() -> None:
        nonlocal peak
        while not ended.wait(INTERVAL):
            peak = max(peak, sum(map(proportional, family(process.pid))))

    watcher = threading.Thread(target=look)
    watcher.start()
    output, _ = process.communicate()
    seconds = time.perf_counter() - started
    ended.set()
    watcher.join()
    if process.returncode not in good:
        raise SystemExit(f"{' '.join(map(str, command))}: exit {process.returncode}")
    return Watched(seconds, output, peak)


def family(root: int) -> list[int]:
    """Return the ids of a process and all its descendants."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:  # the process has just ended
                continue
    found = [root]
    for member in found:
        found += [child for child, parent in parents.items() if parent == member]
    return found


def proportional(process: int) -> int:
    """Return the proportional set size of a process in bytes; 0 if it has just ended."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)
