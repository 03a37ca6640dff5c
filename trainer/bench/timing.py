"""What every part of `skelepipe bench` is made of: ways that are timed one after the other, and the machine's name.

Machines are shared and noisy, so each round runs every way once, and a ratio is the median over rounds of what a way
and the first one took in the same round.
"""

import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import truediv
from pathlib import Path

from trainer.doctor.processor import processor_name

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Way:
    """One way to do some work."""

    what: str
    size: str
    """How much work, in words."""
    unit: str
    """Of `amount` a second; with `amount` None, what `work` answers is the figure, in this unit."""
    amount: float | None
    work: Callable[[], float | None]
    """Does it once. What it answers are the seconds that count; None: all that it took."""


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured of one way."""

    what: str
    size: str
    unit: str
    median: float | None
    """None, with least and most, of a way that does not fit into memory."""
    least: float | None
    most: float | None
    ratio: float | None
    """To the first way that fits, where ways are compared."""
    figures: list[float]
    """One for each round."""


def time_interleaved(ways: Sequence[Way], rounds: int, progress: Progress, *, ratios: bool = True) -> list[Row]:
    """Run every way once in each round, and once before the first, which is not counted.

    A way whose work raises MemoryError is left out of all further rounds.
    """
    figures: list[list[float]] = [[] for _ in ways]
    fitting = list(range(len(ways)))
    for number in range(rounds + 1):
        for place in list(fitting):
            progress(f"{ways[place].what}, {f'round {number} of {rounds}' if number else 'warming up'}")
            try:
                figure = _once(ways[place])
            except MemoryError:
                figures[place].clear()
                fitting.remove(place)
                continue
            if number:
                figures[place].append(figure)
    first = figures[fitting[0]] if ratios and fitting else []
    return [_row(way, found, first) for way, found in zip(ways, figures, strict=True)]


def _row(way: Way, figures: list[float], first: list[float]) -> Row:
    least, median, most = (min(figures), statistics.median(figures), max(figures)) if figures else (None, None, None)
    ratio = statistics.median(map(truediv, figures, first)) if figures and first else None
    return Row(way.what, way.size, way.unit, median, least, most, ratio, figures)


def _once(way: Way) -> float:
    began = time.perf_counter()
    answer = way.work()
    took = time.perf_counter() - began
    if way.amount is None:
        return took if answer is None else answer
    return way.amount / (took if answer is None else answer)


def describe_machine() -> dict[str, str | int]:
    """Processor, cores, Python and commit, by which figures of different days can be told apart."""
    return {"processor": processor_name(), "python": platform.python_version(), "commit": git_commit()}


def git_commit() -> str:
    """The clone's commit, with a plus sign when files were changed since; `unknown` outside a clone."""
    try:
        said = [
            subprocess.run(
                ["git", *what],  # noqa: S607 (git is found on the path)
                cwd=Path(__file__).parent,
                capture_output=True,
                text=True,
                check=True,
            ).stdout.strip()
            for what in (("rev-parse", "--short=7", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
        ]
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return said[0] + ("+" if said[1] else "")
