"""What every data set offers to ingest: a survey of what lies there, and the reading of one recording."""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from pipeline.files.raw_files import RawFile
from pipeline.skeleton.layout import Layout
from pipeline.skeleton.recording import Recording
from pipeline.skeleton.segments import FrameIndex


@dataclass(frozen=True, slots=True)
class Entry:
    """One recording that a survey found; it holds one clip or several."""

    name: str
    """The recording's name; unique in its data set."""
    file: RawFile
    beside: tuple[RawFile, ...] = ()
    """Files that are read with it, such as its labels."""

    @property
    def files(self) -> tuple[RawFile, ...]:
        """All that is read for it."""
        return (self.file, *self.beside)

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(file.size for file in self.files)


@dataclass(frozen=True, kw_only=True, slots=True)
class Labels:
    """What is known of a clip besides its motion; -1 where it is not."""

    label: int
    """Class, from 0."""
    subject: int = -1
    camera: int = -1
    setup: int = -1
    replication: int = -1
    extra: tuple[str, ...] = ()
    """A value for each of the source's `columns`."""


NUMBERED = ("subject", "camera", "setup", "replication")
"""What is known of a clip as numbers besides its class: fields of Labels, columns of a store and of a manifest."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Survey:
    """What lies in the folders that the user named."""

    entries: tuple[Entry, ...]
    """In order of name."""
    missing: tuple[str, ...] = ()
    """Samples that the data set's authors list as damaged, found and left out."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Files that belong to something else, counted by what they are."""
    absent: Mapping[str, int] = field(default_factory=dict)
    """Recordings of the whole data set that are not there, counted by where they belong, such as `S001`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """One clip's rows and labels."""

    recording: Recording
    """Under the clip's name; only the clip's frames, renumbered from 0."""
    labels: Labels
    crc32: int
    """Of the bytes of all the recording's files, as `checksum` gives it."""
    start: int = 0
    """The clip's first frame in the recording that it was cut from, from 0."""
    step_counts: Mapping[str, int] = field(default_factory=dict)
    """Counts by the names in STEP_COUNTS that the reading itself gives."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """One clip of a recording that cannot be used, while the others can."""

    name: str
    file: RawFile
    line: int
    """Where in the file, from 1; 0 when no line is to blame."""
    reason: str


def combined_crc32(crcs: Sequence[int]) -> int:
    """One crc32 for a recording: that of its file, or of its files' crc32s (four bytes each) when there are several."""
    return crcs[0] if len(crcs) == 1 else zlib.crc32(b"".join(crc.to_bytes(4, "little") for crc in crcs))


class Reader(Protocol):
    """What turns an entry into clips."""

    def read(self, entry: Entry, frame_index: FrameIndex) -> Iterator[Reading | Refusal]:
        """Parse one recording, once, and yield its clips in order.

        Raises:
            RawFileError: it cannot be used as it stands.
        """


class Source(Reader, Protocol):
    """A data set's own knowledge: file names, grammar, labels. It is made for the folders that the user named."""

    name: str
    layout: Layout
    classes: tuple[str, ...]
    """Names of the classes in the order of their labels."""
    shared: str
    """Digest of what all recordings share, such as a manifest's bytes; empty when there is no such thing."""
    columns: tuple[str, ...]
    """Names of what is kept of each clip besides the usual columns."""
    rules: Mapping[str, Any]
    """Splits that the data set itself brings, as plain data; empty when they are built in or there are none."""

    def survey(self, *, keep_missing: bool) -> Survey:
        """Find the data set's recordings.

        Raises:
            SkelepipeError: a root does not exist, holds nothing of the data set, or a sample lies there twice.
        """
