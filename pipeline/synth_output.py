"""Where a synthetic data set goes: a new folder that is there whole or not at all, and what was written into it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline import publish
from pipeline.errors import ConfigError, OutputExists


@dataclass(frozen=True, kw_only=True, slots=True)
class SynthSummary:
    """What was written."""

    files: int
    """Recordings, broken ones included."""
    broken: dict[str, str]
    """Names of the broken recordings or clips, with what is wrong with each."""
    classes: tuple[int, ...]
    """Labels (from 0) of the good clips, ascending."""
    performers: tuple[int, ...]
    """Performers of the good clips, ascending; empty where the data set does not tell them apart."""
    bytes: int
    """Size of all files together."""


def refuse_impossible(clips: int, broken: int, most_broken: int, seed: int) -> None:
    """Refuse numbers of which no set can be made.

    Raises:
        ConfigError: one is out of range.
    """
    if clips < 1:
        raise ConfigError(f"clips {clips}: a set has at least one")
    if not 0 <= broken <= most_broken:
        raise ConfigError(f"broken {broken}: must be from 0 to {most_broken}")
    if seed < 0:
        raise ConfigError(f"seed {seed}: must not be negative")


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder to fill, which becomes `out` when all has gone well and vanishes when it has not.

    Raises:
        OutputExists: `out` holds something already.
        OutputLocked: another process is writing it.
        OutputFailed: the disk refuses.
    """
    out = out.resolve()
    with publish.sole_writer(out), publish.disk_errors(out, outcome="the set was not written"):
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise OutputExists(f"{out}: is there and not an empty folder; name a new folder, or empty this one first")
        # Written under another name, so that what an interrupted run leaves is never taken for a whole set.
        partial = out.with_name(f".{out.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            yield partial
            publish.publish_folder(partial, out)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
