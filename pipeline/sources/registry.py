"""Registry of data sources: the names that `skelepipe ingest` accepts and the class that reads each."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from pipeline.errors import ConfigError
from pipeline.sources.folder.source import FolderSource
from pipeline.sources.ntu.source import NtuSource
from pipeline.sources.pku.source import PkuSource
from pipeline.sources.source import Source
from pipeline.suggest import did_you_mean

SOURCES: Mapping[str, Callable[[Sequence[Path]], Source]] = {
    "ntu60": partial(NtuSource, "ntu60"),
    "ntu120": partial(NtuSource, "ntu120"),
    "pku1": partial(PkuSource, "pku1"),
    "pku2": partial(PkuSource, "pku2"),
    "folder": FolderSource,
}


def open_source(name: str, roots: Sequence[Path]) -> Source:
    """Create the source of that name for the folders that the user named.

    Raises:
        ConfigError: no source has that name, or the data set's description is invalid.
    """
    if name not in SOURCES:
        raise ConfigError(f"unknown data set {name!r}{did_you_mean(name, SOURCES)}; known: {', '.join(SOURCES)}")
    return SOURCES[name](roots)
