"""Raw files wherever they lie: loose, in folders of any depth, or inside zip archives, which are read in place.

A name in an archive is only ever taken apart for what it says; nothing is extracted, so it never becomes a path.
"""

import io
import lzma
import os
import stat
import struct
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, cast

from isal import igzip_lib, isal_zlib

from pipeline.errors import ArtifactNotFound, RawFileError, SkelepipeError

BLOCK = 1 << 20
LOCAL_HEADER = 30
"""Bytes of a member's header within a zip archive; the lengths of the name and the extra field behind it come last."""
FOREIGN = {".7z", ".gz", ".tar", ".tgz", ".rar", ".xz", ".bz2"}
"""Archives that are not read in place."""
BOMB_BYTES, BOMB_RATIO = 256 << 20, 100
"""A member larger than this that also shrinks to less than a hundredth is no text of numbers: that goes to a fourth."""

_DAMAGED: tuple[type[Exception], ...] = (
    *(zipfile.BadZipFile, lzma.LZMAError, KeyError, EOFError, RuntimeError, NotImplementedError),
    cast(type[Exception], igzip_lib.IsalError),  # its stub declares an instance
)


@dataclass(frozen=True, slots=True)
class RawFile:
    """A file of raw data."""

    path: Path
    """Of the file, or of the zip archive that it lies in."""
    member: str = ""
    """Its name in the archive; empty when it lies loose."""
    size: int = 0
    """Bytes, unpacked."""

    @property
    def name(self) -> str:
        """The last part of its name."""
        return PurePosixPath(self.member).name if self.member else self.path.name

    @property
    def stem(self) -> str:
        """The last part of its name, without suffix."""
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        """What follows the last dot of its name, with it."""
        return PurePosixPath(self.name).suffix

    @property
    def folder(self) -> str:
        """Name of the folder that it lies in."""
        return PurePosixPath(self.member).parent.name if self.member else self.path.parent.name

    def __str__(self) -> str:
        """As the user knows it."""
        return f"{self.path}: {self.member}" if self.member else str(self.path)


@dataclass(frozen=True, slots=True)
class Found:
    """What lies below some folders."""

    files: list[RawFile]
    left_out: Counter[str]
    """What cannot be looked into or read, counted by why."""


def find(roots: Sequence[Path]) -> Found:
    """Every file at or below `roots` and in the zip archives there; links followed, hidden ones passed over.

    Roots may lie in one another: a file that is reached twice is one file.

    Raises:
        ArtifactNotFound: a root does not exist.
        OSError: a folder cannot be looked into; what lies in it would be lost without a word.
        SkelepipeError: a zip archive is damaged.
    """
    files: list[RawFile] = []
    left_out: Counter[str] = Counter()
    reached: set[Path] = set()
    roots = sorted(roots, key=Path.is_dir)  # a file that is named is reached so, hidden or not
    for path in (path for root in roots for path in _walk(root, reached)):
        try:
            status = path.stat()
        except OSError:  # a link to nowhere, or a file that has just gone: reading it tells more
            files.append(RawFile(path))
            continue
        if not stat.S_ISREG(status.st_mode):
            left_out["not a regular file"] += 1
        elif path.suffix.lower() == ".zip":
            files += _members(path)
        elif path.suffix.lower() in FOREIGN:
            left_out["archives, unpack them first"] += 1
        else:
            files.append(RawFile(path, "", status.st_size))
    return Found(files, left_out)


@contextmanager
def opened(file: RawFile) -> Iterator[io.RawIOBase | io.BufferedIOBase]:
    """A file's bytes as a stream, checked against the archive's crc32 when it lies in one; to be read, no more.

    Raises:
        RawFileError: it cannot be read, or the archive is wrong about it; also while reading.
    """
    try:
        if not file.member:
            with file.path.open("rb", buffering=0) as stream:
                yield stream
            return
        archive = _archive(*_identity(file.path))
        entry = archive.getinfo(file.member)
        if entry.file_size > BOMB_BYTES and entry.file_size > BOMB_RATIO * entry.compress_size:
            raise RawFileError(str(file), 0, f"{entry.file_size} bytes out of {entry.compress_size}: no recording")
        with cast(io.BufferedIOBase, archive.open(entry)) as member:
            yield io.BytesIO(_inflated(archive, entry)) if entry.compress_type == zipfile.ZIP_DEFLATED else member
    except OSError as error:
        raise RawFileError(str(file), 0, f"cannot be read: {error.strerror or error}") from error
    except _DAMAGED as error:
        raise RawFileError(str(file), 0, f"cannot be unpacked: {str(error) or 'damaged'}; download it again") from error


def read(file: RawFile) -> bytes:
    """A file's bytes.

    Raises:
        RawFileError: as `opened`.
    """
    with opened(file) as stream:
        return stream.read() or b""


def crc32(file: RawFile) -> int:
    """crc32 of a file's bytes, by the archive's own account when it lies in one; 0 when it cannot be read."""
    try:
        if file.member:
            return _archive(*_identity(file.path)).getinfo(file.member).CRC
        total = 0
        with file.path.open("rb") as stream:
            while block := stream.read(BLOCK):
                total = isal_zlib.crc32(block, total)
    except (OSError, KeyError, zipfile.BadZipFile):
        return 0
    return total


def stamp(file: RawFile) -> list[Any]:
    """What tells that a file has not been touched: size and time of change of what lies there; None when it is gone."""
    try:
        status = file.path.stat()
    except OSError:
        return [file.member, None, None]
    return [file.member, status.st_size, status.st_mtime_ns]


def _walk(root: Path, reached: set[Path]) -> Iterator[Path]:
    """The files at or below a root, without those reached before: folders and named files are noted there."""
    if not root.exists():
        raise ArtifactNotFound(root, "name the folder that holds the recordings")
    if root.is_file():
        place = root.parent.resolve() / root.name
        if place not in reached:
            reached.add(place)
            yield root
        return

    def refuse(error: OSError) -> None:
        raise error

    for here, folders, names in os.walk(root, onerror=refuse, followlinks=True):
        if (real := Path(here).resolve()) in reached:
            folders.clear()  # a link that leads back up, or a root within another
            continue
        reached.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        shown = (name for name in sorted(names) if not name.startswith("."))
        yield from (Path(here, name) for name in shown if real / name not in reached)


def _members(path: Path) -> Iterator[RawFile]:
    """The files in a zip archive, without the hidden ones and those that a Mac adds."""
    try:
        members = _archive(*_identity(path)).infolist()
    except (zipfile.BadZipFile, OSError) as error:
        raise SkelepipeError(f"{path}: cannot be read as a zip archive ({error}); download it again") from error
    for member in members:
        parts = PurePosixPath(member.filename).parts
        if not member.is_dir() and not any(part.startswith((".", "__MACOSX")) for part in parts if part != ".."):
            yield RawFile(path, member.filename, member.file_size)


def _inflated(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """A deflated member whole, by ISA-L, which takes 0.4 of zlib's time; its local header has been checked.

    Raises:
        zipfile.BadZipFile: it is not as long as the archive says, or has another crc32.
        igzip_lib.IsalError: it is no deflated data.
    """
    handle = cast(io.BufferedReader, archive.fp).fileno()
    header = os.pread(handle, LOCAL_HEADER, entry.header_offset)
    start = entry.header_offset + LOCAL_HEADER + sum(struct.unpack("<HH", header[-4:]))
    if start + entry.compress_size > os.fstat(handle).st_size:
        raise zipfile.BadZipFile("it ends behind the archive")
    inflater = isal_zlib.decompressobj(wbits=-15)
    # One byte more than the archive says is asked for, so that it cannot lie.
    content = inflater.decompress(os.pread(handle, entry.compress_size, start), entry.file_size + 1)
    if len(content) != entry.file_size or not inflater.eof:
        raise zipfile.BadZipFile(f"not the {entry.file_size} bytes that the archive says")
    if isal_zlib.crc32(content) != entry.CRC:
        raise zipfile.BadZipFile("another CRC-32 than the archive says")
    return content


def _identity(path: Path) -> tuple[Path, int, int]:
    status = path.stat()
    return path, status.st_size, status.st_mtime_ns


@lru_cache(maxsize=4)
def _archive(path: Path, size: int, changed: int) -> zipfile.ZipFile:
    """An archive's directory, read once a process for as long as the file stays the same."""
    return zipfile.ZipFile(path)
