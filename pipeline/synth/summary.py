"""Where a synthetic data set goes: a new folder that is there whole or not at all, and what was written into it."""

from dataclasses import dataclass

from pipeline.errors import ConfigError


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
