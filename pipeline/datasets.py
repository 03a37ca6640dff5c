"""The data sets that skelepipe reads, by the name that the command line uses."""

from pipeline.errors import ConfigError
from pipeline.ntu import NTU60_SOURCE
from pipeline.source import Source

SOURCES: dict[str, Source] = {source.name: source for source in (NTU60_SOURCE,)}


def source(name: str) -> Source:
    """A data set by name.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in SOURCES:
        raise ConfigError(f"unknown data set {name!r}; known: {', '.join(SOURCES)}")
    return SOURCES[name]
