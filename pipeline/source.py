"""What every data set offers to ingest: a survey of what lies there, and the reading of one recording."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pipeline.layout import Layout
from pipeline.recording import Recording


@dataclass(frozen=True, slots=True)
class Entry:
    """One recording that a survey found."""

    name: str
    """The sample's name; unique in its data set."""
    path: Path
    size: int
    """Bytes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Labels:
    """What is known of a recording besides its motion; -1 where it is not."""

    label: int
    """Class, from 0."""
    subject: int
    camera: int
    setup: int
    replication: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Survey:
    """What lies in the folders that the user named."""

    entries: tuple[Entry, ...]
    """In order of name: the order of a store's rows."""
    missing: tuple[str, ...]
    """Samples that the data set's authors list as damaged, found and left out."""
    left_out: Mapping[str, int]
    """Files that belong to something else, counted by what they are."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """One recording with its labels and the identity of its bytes."""

    recording: Recording
    labels: Labels
    size: int
    crc32: int


class Source(Protocol):
    """A data set's own knowledge: file names, grammar, labels."""

    name: str
    layout: Layout

    def survey(self, roots: Sequence[Path], *, keep_missing: bool) -> Survey:
        """Find the data set's recordings below `roots`.

        Raises:
            SkelepipeError: a root does not exist, holds nothing of the data set, or a sample lies there twice.
        """

    def read(self, entry: Entry) -> Reading:
        """Parse one recording.

        Raises:
            RawFileError: it cannot be used as it stands.
        """

    def crc32(self, entry: Entry) -> int:
        """crc32 of a recording's bytes."""

    def class_name(self, label: int) -> str:
        """What a class is called."""
