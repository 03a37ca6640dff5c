"""What a tool's files become: recordings found, and what one of them shows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from pipeline.files import raw_files
from pipeline.files.raw_files import RawFile
from pipeline.skeleton.layout import Layout


class Unreadable(Exception):
    """A recording cannot be used as it stands; the text is the reason. Whoever knows the file says which it is."""

    def __init__(self, reason: str, line: int = 0) -> None:
        super().__init__(reason)
        self.line = line
        """Where it is to blame, from 1; 0 when no line is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """What a user may say about the files; None leaves it to the tool."""

    units: str | None = None
    """`m`, `cm`, `mm` or `inch`."""
    up: str | None = None
    """The axis that points up, as `skeleton.toml` has it."""
    aspect: float | None = None
    """Width by height of the pictures, where coordinates are parts of these."""
    skeleton: Layout | None = None
    """The layout, where the files' own tree cannot be told."""


@dataclass(frozen=True, slots=True)
class FoundRecording:
    """One recording that lies there."""

    name: str
    """Of its file without suffix, or of the video that its files are frames of."""
    files: tuple[RawFile, ...]
    """In the order of frames, where there are several."""
    numbers: tuple[int, ...] = ()
    """Of the frames, one for each file; empty where a file is a whole recording."""

    @property
    def file(self) -> RawFile:
        """The file that messages name."""
        return self.files[0]

    @property
    def inner(self) -> PurePosixPath:
        """Its file's path, also within an archive."""
        return PurePosixPath(self.file.member or self.file.path.as_posix())


@dataclass(frozen=True, kw_only=True, slots=True)
class ConvertedClip:
    """What one recording shows."""

    layout: Layout
    xyz: NDArray[np.float32]
    """(M, T, V, 3) metres, y up; NaN where a joint or body is missing."""
    confidence: NDArray[np.float32] | None = None
    """(M, T, V) how sure the tool is of each joint, NaN where it does not say."""
    rate: float | None = None
    """Frames a second, where the file says so."""
    notes: tuple[str, ...] = ()
    """What was taken for granted; said once, however many files it holds for."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """What the file itself says of label, subject, ..."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tool:
    """One kind of file and how it is read."""

    find: Callable[[Sequence[RawFile]], list[FoundRecording]]
    """The recordings among files."""
    read: Callable[[FoundRecording, Options], ConvertedClip]
    """Raises RawFileError or Unreadable for what cannot be used as it stands."""
    takes: str
    """The files that it looks for, in words."""
    grammar: str = ""
    """Names that say what a recording shows: a regular expression with named groups; empty when there are none."""
    classes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """For each suffix of a file the names of its classes, by the number in its name."""


def content(file: RawFile, most: int, remedy: str = "cut the recording") -> bytes:
    """A file's bytes, if they are no more than `most`; memory is taken for what there is.

    Raises:
        RawFileError: it cannot be read.
        Unreadable: it is larger; the text says what to do.
    """
    blocks, size = list[bytes](), 0
    with raw_files.open_file(file) as stream:
        while block := stream.read(raw_files.BLOCK_BYTES):
            blocks.append(block)
            size += len(block)
            if size > most:
                raise Unreadable(f"has more than {most >> 20} MB; {remedy}")
    return b"".join(blocks)


def each_file(files: Sequence[RawFile], suffixes: Sequence[str]) -> list[FoundRecording]:
    """Every file of these suffixes as a recording."""
    return [FoundRecording(file.stem, (file,)) for file in files if file.suffix.lower() in suffixes]
