"""The contract of a reader in readers/: how a tool's files are found and read, and the clip that reading returns."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from pipeline.files import raw_files
from pipeline.files.raw_files import RawFile
from pipeline.skeleton.layout import Layout


class Unreadable(Exception):
    """A recording cannot be used. The text is the reason; the caller, which knows the file, adds its name."""

    def __init__(self, reason: str, line: int = 0) -> None:
        super().__init__(reason)
        self.line = line
        """The line with the error, from 1; 0 if the error has no line."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """What the user specifies about the files; None means the tool's default."""

    units: str | None = None
    """`m`, `cm`, `mm` or `inch`."""
    up: str | None = None
    """The axis that points up, as in `skeleton.toml`."""
    aspect: float | None = None
    """Width divided by height of the images, if coordinates are fractions of these."""
    skeleton: Layout | None = None
    """The layout of files whose own joint names are not understood."""


@dataclass(frozen=True, slots=True)
class FoundRecording:
    """One recording that was found."""

    name: str
    """Name of its file without suffix, or of the video whose frames its files are."""
    files: tuple[RawFile, ...]
    """In the order of the frames, if there are several."""
    numbers: tuple[int, ...] = ()
    """Frame number of each file; empty if a single file is the whole recording."""

    @property
    def file(self) -> RawFile:
        """The file to name in messages."""
        return self.files[0]

    @property
    def inner(self) -> PurePosixPath:
        """The path of its file, inside the archive if there is one."""
        return PurePosixPath(self.file.member or self.file.path.as_posix())


@dataclass(frozen=True, kw_only=True, slots=True)
class ConvertedClip:
    """The bodies of one recording."""

    layout: Layout
    xyz: NDArray[np.float32]
    """(M, T, V, 3) metres, y up; NaN where a joint or body is missing."""
    confidence: NDArray[np.float32] | None = None
    """(M, T, V) the tool's confidence in each joint, NaN where unknown."""
    rate: float | None = None
    """Frames per second, if the file states it."""
    notes: tuple[str, ...] = ()
    """Assumptions made; each is reported once, however many files it applies to."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Label, subject, ... if the file itself has them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tool:
    """One kind of file and how to read it."""

    find: Callable[[Sequence[RawFile]], list[FoundRecording]]
    """Finds the recordings among files."""
    read: Callable[[FoundRecording, Options], ConvertedClip]
    """Reads a recording; raises RawFileError or Unreadable if it cannot be used."""
    takes: str
    """Describes the files that `find` looks for."""
    grammar: str = ""
    """Regular expression with named groups, for file names that contain labels; empty if they do not."""
    classes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """For each file suffix, the class names by the number in the file name."""


def read_content(file: RawFile, max_bytes: int, remedy: str = "cut the recording") -> bytes:
    """Read a file of at most `max_bytes`; allocate memory only for what is there.

    Raises:
        RawFileError: the file cannot be read.
        Unreadable: it is larger; the message ends with `remedy`.
    """
    blocks, size = list[bytes](), 0
    with raw_files.open_file(file) as stream:
        while block := stream.read(raw_files.BLOCK_BYTES):
            blocks.append(block)
            size += len(block)
            if size > max_bytes:
                raise Unreadable(f"has more than {max_bytes >> 20} MB; {remedy}")
    return b"".join(blocks)


def find_by_suffix(files: Sequence[RawFile], suffixes: Sequence[str]) -> list[FoundRecording]:
    """Return each file with one of the suffixes as a recording."""
    return [FoundRecording(file.stem, (file,)) for file in files if file.suffix.lower() in suffixes]
