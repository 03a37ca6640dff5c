"""Contract of a data source: `survey` lists the recordings of a data set, `read` parses one of them."""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from pipeline.errors import printable_name
from pipeline.files.raw_files import RawFile
from pipeline.skeleton.layout import Layout
from pipeline.skeleton.recording import Recording
from pipeline.skeleton.segments import FrameIndex


@dataclass(frozen=True, slots=True)
class Entry:
    """One recording that a survey found. It contains one clip or several."""

    name: str
    """The recording's name; unique in its data set."""
    file: RawFile
    companions: tuple[RawFile, ...] = ()
    """Other files that are read together with it, such as its label file."""

    @property
    def files(self) -> tuple[RawFile, ...]:
        """All files of the recording."""
        return (self.file, *self.companions)

    @property
    def size(self) -> int:
        """Total size of the files in bytes."""
        return sum(file.size for file in self.files)


@dataclass(frozen=True, kw_only=True, slots=True)
class Labels:
    """Class and other labels of a clip; -1 where a label is unknown."""

    label: int
    """Class, from 0."""
    subject: int = -1
    camera: int = -1
    setup: int = -1
    replication: int = -1
    extra: tuple[str, ...] = ()
    """One value for each of the source's `columns`."""


NUMERIC_LABELS = ("subject", "camera", "setup", "replication")
"""Numeric labels other than the class: fields of `Labels`, columns of a store and of a manifest.csv."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Survey:
    """The recordings found in the folders that the user named."""

    entries: tuple[Entry, ...]
    """Sorted by name."""
    missing: tuple[str, ...] = ()
    """Names of samples that were found and skipped because the data set's authors list them as damaged."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Skipped files that do not belong to the data set: the reason and the number of files."""
    notes: tuple[str, ...] = ()
    """What the user should know about the recordings, such as their frame rate."""
    absent: Mapping[str, int] = field(default_factory=dict)
    """Recordings of the complete data set that were not found: their group, such as `S001`, and their number."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """The parsed rows and the labels of one clip."""

    recording: Recording
    """Named after the clip. It contains only the clip's frames, renumbered from 0."""
    labels: Labels
    crc32: int
    """Checksum of all files of the recording, see `combined_crc32`."""
    start: int = 0
    """The clip's first frame in the recording that it was cut from, from 0."""
    step_counts: Mapping[str, int] = field(default_factory=dict)
    """The counts of STEP_COUNTS that reading itself determines."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """One clip that cannot be used, while others of the same recording may be usable."""

    name: str
    file: RawFile
    line: int
    """Line number in the file, from 1; 0 when the problem is not in a particular line."""
    reason: str


def not_named_like(example: str, files: Sequence[RawFile]) -> dict[str, int]:
    """Return the entry of `Survey.left_out` for files whose names are not those of recordings; empty without files."""
    return {f"not named like {example}, first {printable_name(files[0].name)}": len(files)} if files else {}


def combined_crc32(crcs: Sequence[int]) -> int:
    """The crc32 of a recording: that of its only file, or the crc32 over its files' crc32s (four bytes each)."""
    return crcs[0] if len(crcs) == 1 else zlib.crc32(b"".join(crc.to_bytes(4, "little") for crc in crcs))


class Reader(Protocol):
    """Parses the recordings that entries refer to."""

    def read(self, entry: Entry, frame_index: FrameIndex) -> Iterator[Reading | Refusal]:
        """Parse one recording, once, and yield its clips in order.

        Raises:
            RawFileError: the recording cannot be used.
        """


class Source(Reader, Protocol):
    """A data set: its file names, file format and labels. An instance belongs to the folders that the user named."""

    name: str
    layout: Layout
    frames_per_second: float | None
    """Of the recordings; None if unknown. Clips have 30."""
    classes: tuple[str, ...]
    """Class names in the order of their labels."""
    shared: str
    """Digest of data that all recordings share, such as the bytes of a manifest.csv; empty when there is none."""
    columns: tuple[str, ...]
    """Names of additional columns that are stored for each clip."""
    max_people: int | None
    """Largest number of people in a recording; None when the data set does not say."""
    rules: Mapping[str, Any]
    """Splits that the data set defines itself, as plain data; empty when they are built in or when there are none."""

    def survey(self, *, keep_missing: bool) -> Survey:
        """Find the data set's recordings.

        Raises:
            SkelepipeError: a root does not exist or has no recording of the data set, or a sample was found twice.
        """
