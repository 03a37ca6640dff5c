"""The result of writing a synthetic data set, and the check of its parameters."""

from dataclasses import dataclass

from pipeline.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class SynthSummary:
    """What was written."""

    files: int
    """Number of recordings, including broken ones."""
    broken: dict[str, str]
    """The kind of damage of each broken recording or clip, by name."""
    classes: tuple[int, ...]
    """Labels (from 0) of the good clips, ascending."""
    performers: tuple[int, ...]
    """Performers of the good clips, ascending; empty if the data set has no performer ids."""
    bytes: int
    """Total size of all files."""


def check_counts(clips: int, broken: int, max_broken: int, seed: int) -> None:
    """Check the parameters of a synthetic data set.

    Raises:
        ConfigError: a number is out of range.
    """
    if clips < 1:
        raise ConfigError(f"clips {clips}: must be at least 1")
    if not 0 <= broken <= max_broken:
        raise ConfigError(f"broken {broken}: must be from 0 to {max_broken}")
    if seed < 0:
        raise ConfigError(f"seed {seed}: must not be negative")
