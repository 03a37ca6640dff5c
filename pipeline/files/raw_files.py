"""Raw files wherever they lie: loose, in folders of any depth, or inside zip archives, which are read in place.

A name in an archive is only ever taken apart for what it says; nothing is extracted, so it never becomes a path.
"""

import io
import os
import posixpath
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any
from zipfile import BadZipFile

from isal import isal_zlib

from pipeline.errors import ArtifactNotFound, RawFileError, SkelepipeError, printable_name
from pipeline.files.safe_zip import Archive

BLOCK_BYTES = 1 << 20
ZIP = ".zip"
OTHER_ARCHIVES = {".7z", ".gz", ".tar", ".tgz", ".rar", ".xz", ".bz2"}
"""Archives that are not read in place."""


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
        """The last part of its name, as messages have it: what is no plain text is escaped, the longest are cut."""
        return printable_name(PurePosixPath(self.member).name if self.member else self.path.name)

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
        path = str(self.path) if str(self.path).isprintable() else printable_name(str(self.path))
        return f"{path}: {printable_name(self.member)}" if self.member else path


@dataclass(frozen=True, slots=True)
class FoundFiles:
    """What lies below some folders."""

    files: list[RawFile]
    left_out: Counter[str]
    """What cannot be looked into or read, counted by why."""


def find(roots: Sequence[Path]) -> FoundFiles:
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
        elif path.suffix.lower() == ZIP:
            files += _members(path, left_out)
        elif path.suffix.lower() in OTHER_ARCHIVES:
            left_out["archives, unpack them first"] += 1
        else:
            files.append(RawFile(path, "", status.st_size))
    return FoundFiles(files, left_out)


@contextmanager
def open_file(file: RawFile) -> Iterator[io.RawIOBase | io.BufferedIOBase]:
    """A file's bytes as a stream; one that lies in an archive is unpacked, and is what the archive says, before that.

    Raises:
        RawFileError: it cannot be read, also while reading, or the archive is wrong about it.
    """
    try:
        if not file.member:
            with file.path.open("rb", buffering=0) as stream:
                yield stream
            return
        yield _archive(*_identity(file.path)).unpacked(file.member)
    except OSError as error:
        raise RawFileError(str(file), 0, f"cannot be read: {error.strerror or error}") from error
    except BadZipFile as error:
        where = printable_name(file.path.name)  # a quarantine names the member alone
        raise RawFileError(str(file), 0, f"cannot be unpacked from {where}: {error}") from error


def read(file: RawFile) -> bytes:
    """A file's bytes.

    Raises:
        RawFileError: as `opened`.
    """
    with open_file(file) as stream:
        return stream.read() or b""


def crc32(file: RawFile) -> int:
    """crc32 of a file's bytes, by the archive's own account when it lies in one; 0 when it cannot be read."""
    try:
        if file.member:
            return _archive(*_identity(file.path)).members[file.member].CRC
        total = 0
        with file.path.open("rb") as stream:
            while block := stream.read(BLOCK_BYTES):
                total = isal_zlib.crc32(block, total)
    except (OSError, KeyError, BadZipFile):
        return 0
    return total


def fingerprint(file: RawFile) -> list[Any]:
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


def _members(path: Path, left_out: Counter[str]) -> Iterator[RawFile]:
    """The files in a zip archive, without the hidden ones and those that a Mac adds."""
    try:
        members = _archive(*_identity(path)).members
    except (BadZipFile, OSError) as error:
        raise SkelepipeError(f"{path}: cannot be read as a zip archive ({error}); download it again") from error
    for name, member in members.items():
        parts = PurePosixPath(name).parts
        if name.endswith("/") or any(part.startswith((".", "__MACOSX")) for part in parts if part[:2] != ".."):
            continue
        if not name:
            left_out["members of archives without a name"] += 1
        elif posixpath.splitext(name)[1].lower() in {ZIP, *OTHER_ARCHIVES}:
            left_out["archives within archives, unpack them first"] += 1
        else:
            yield RawFile(path, name, member.file_size)


def _identity(path: Path) -> tuple[Path, int, int]:
    status = path.stat()
    return path, status.st_size, status.st_mtime_ns


@lru_cache(maxsize=4)
def _archive(path: Path, size: int, changed: int) -> Archive:
    """An archive's directory, read once a process for as long as the file stays the same."""
    return Archive(path)
