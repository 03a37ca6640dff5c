"""Cases of hostile commands: the registry, and how a case changes its copy of the work folder."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

CLI = Path(__file__).parents[2] / "cli.py"
SECONDS = 90
"""Longest time that a command may take."""
TINY = (
    "pretrain --preset quick --out runs/tiny --set frames=16 epochs=2 batch_size=12 encoder.hidden_channels=2"
    " encoder.hidden_dim=8 encoder.feature_dim=4 method.mix.frames=[1,3] method.mix.repeats=2"
)
"""Trains a tiny run."""
Prepare = Callable[[Path], str | list[str]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One hostile command."""

    name: str
    prepare: Prepare
    """Changes a copy of the work folder and returns the command."""
    codes: tuple[int, ...]
    """Exit codes that are right."""
    mentions: str
    """Regular expression that the output must contain."""
    shell: str
    """Shell commands that run before the command in its shell, such as `ulimit`."""
    redirect: str
    """Shell redirections of the command."""
    changes: bool
    """Whether the command may change existing files."""
    meanwhile: Callable[[Path], None] | None
    """Runs in a thread while the command runs."""


CASES: list[Case] = []


def case(
    *codes: int,
    mentions: str = "",
    shell: str = "",
    redirect: str = "",
    changes: bool = False,
    meanwhile: Callable[[Path], None] | None = None,
) -> Callable[[Prepare], Prepare]:
    """Register a function as a case."""

    def register(prepare: Prepare) -> Prepare:
        CASES.append(
            Case(
                name=prepare.__name__,
                prepare=prepare,
                codes=codes,
                mentions=mentions,
                shell=shell,
                redirect=redirect,
                changes=changes,
                meanwhile=meanwhile,
            )
        )
        return prepare

    return register


def run_here(folder: Path, command: str) -> int:
    """Run a command that prepares a case; return its exit code."""
    words = [sys.executable, str(CLI), *command.split()]
    return subprocess.run(words, cwd=folder, capture_output=True, check=False, timeout=SECONDS).returncode
