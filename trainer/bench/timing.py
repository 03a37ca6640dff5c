"""Measure variants in interleaved rounds, and describe the machine; used by every suite of `skelepipe bench`.

Machines are shared and noisy. Therefore each round runs every variant once, and a ratio is the median over rounds of a
variant's figure divided by that of the first variant in the same round.
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
class Variant:
    """One implementation to measure."""

    what: str
    size: str
    """Amount of work, in words."""
    unit: str
    """Unit of `amount` per second; if `amount` is None, the unit of the number that `work` returns."""
    amount: float | None
    work: Callable[[], float | None]
    """Runs once. It returns the seconds that count, or None for the whole time that it took."""


@dataclass(frozen=True, slots=True)
class Row:
    """The measurements of one variant."""

    what: str
    size: str
    unit: str
    median: float | None
    """None, as are least and most, for a variant that does not fit into memory."""
    least: float | None
    most: float | None
    ratio: float | None
    """To the first variant that fits into memory, if variants are compared."""
    figures: list[float]
    """One for each round."""


def time_interleaved(variants: Sequence[Variant], rounds: int, progress: Progress, *, ratios: bool = True) -> list[Row]:
    """Run every variant once in each round, after a warm-up round that is not counted.

    A variant that raises MemoryError is left out of all further rounds.
    """
    figures: list[list[float]] = [[] for _ in variants]
    fitting = list(range(len(variants)))
    for number in range(rounds + 1):
        for index in list(fitting):
            progress(f"{variants[index].what}, {f'round {number} of {rounds}' if number else 'warming up'}")
            try:
                figure = _measure(variants[index])
            except MemoryError:
                figures[index].clear()
                fitting.remove(index)
                continue
            if number:
                figures[index].append(figure)
    first = figures[fitting[0]] if ratios and fitting else []
    return [_summarise(variant, found, first) for variant, found in zip(variants, figures, strict=True)]


def _summarise(variant: Variant, figures: list[float], first: list[float]) -> Row:
    least, median, most = (min(figures), statistics.median(figures), max(figures)) if figures else (None, None, None)
    ratio = statistics.median(map(truediv, figures, first)) if figures and first else None
    return Row(variant.what, variant.size, variant.unit, median, least, most, ratio, figures)


def _measure(variant: Variant) -> float:
    start = time.perf_counter()
    result = variant.work()
    seconds = time.perf_counter() - start
    if variant.amount is None:
        return seconds if result is None else result
    return variant.amount / (seconds if result is None else result)


def describe_machine() -> dict[str, str | int]:
    """Return processor, Python version and commit, to distinguish figures of different machines and days."""
    return {"processor": processor_name(), "python": platform.python_version(), "commit": git_commit()}


def git_commit() -> str:
    """Return the commit of the git clone, with a plus sign if files were changed since; `unknown` outside a clone."""
    try:
        outputs = [
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
    return outputs[0] + ("+" if outputs[1] else "")
