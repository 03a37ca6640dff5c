"""Find and read raw files, in folders of any depth and inside zip archives, which are read in place.

Nothing is extracted, so a name inside an archive never becomes a path.
"""

import errno
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

from pipeline.errors import ArtifactNotFound, InputFailed, RawFileError, SkelepipeError, printable_name
from pipeline.files import regular_files
from pipeline.files.regular_files import UnsuitableFile
from pipeline.files.safe_zip import Archive

BLOCK_BYTES = 1 << 20
MAX_DIRECTORIES = 4096
"""Archives whose directories are cached: recordings are read by name, and so may come from another archive each."""
ZIP = ".zip"
FILE_ERRNOS = {
    *(None, errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM),
    *(errno.EINVAL, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG),
}
"""Errors of one file; any other, such as EIO or ESTALE, concerns its disk or this computer. None: damaged content."""
OTHER_ARCHIVES = {".7z", ".gz", ".tar", ".tgz", ".rar", ".xz", ".bz2"}
"""Archive formats that are not read in place."""


@dataclass(frozen=True, slots=True)
class RawFile:
    """A file of raw data."""

    path: Path
    """Path of the file, or of the zip archive that contains it."""
    member: str = ""
    """Its name in the archive; empty for a file on disk."""
    size: int = 0
    """Unpacked size in bytes."""

    @property
    def name(self) -> str:
        """The file name without folders, escaped and shortened for messages."""
        return printable_name(PurePosixPath(self.member).name if self.member else self.path.name)

    @property
    def stem(self) -> str:
        """The file name without suffix."""
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        """The suffix with its dot."""
        return PurePosixPath(self.name).suffix

    @property
    def folder(self) -> str:
        """Name of the folder that contains it."""
        return PurePosixPath(self.member).parent.name if self.member else self.path.parent.name

    def __str__(self) -> str:
        """Return the path for messages, with the archive member if there is one."""
        path = str(self.path) if str(self.path).isprintable() else printable_name(str(self.path))
        return f"{path}: {printable_name(self.member)}" if self.member else path


@dataclass(frozen=True, slots=True)
class FoundFiles:
    """The files below some folders."""

    files: list[RawFile]
    left_out: Counter[str]
    """Number of entries that cannot be read, by reason."""


def find(roots: Sequence[Path]) -> FoundFiles:
    """Find every file at or below `roots`, also in zip archives; links are followed, hidden files are skipped.

    Roots may contain each other: a file that is reached twice is returned once.

    Raises:
        ArtifactNotFound: a root does not exist.
        OSError: a folder cannot be listed; its files would be missing silently.
        SkelepipeError: a zip archive is damaged, or a root is a pipe, a socket or a device.
    """
    files: list[RawFile] = []
    left_out: Counter[str] = Counter()
    visited: set[Path] = set()
    roots = sorted(roots, key=Path.is_dir)  # files first: a named file is found even if it is hidden
    for path in (path for root in roots for path in _walk(root, visited)):
        try:
            status = path.stat()
        except OSError:  # a broken link or a file just deleted: reading it will report the reason
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
    """Open a file as a stream of bytes; an archive member is unpacked and checked first.

    Raises:
        RawFileError: it cannot be read (also during the block), or the archive member is damaged.
        InputFailed: it was there when it was found and has disappeared, or the disk or network reports an error.
    """
    try:
        if not file.member:
            with regular_files.open_file(file.path) as stream:
                yield stream
            return
        archive = _archive(*_identity(file.path))
        if file.member not in archive.members and file.size:
            raise _disappeared(file)
        yield archive.unpack(file.member)
    except OSError as error:
        raise _read_error(file, error) from error
    except BadZipFile as error:
        packed = printable_name(file.path.name)  # the quarantine list names only the member
        raise RawFileError(str(file), 0, f"cannot be unpacked from {packed}: {error}") from error


def _read_error(file: RawFile, error: OSError) -> RawFileError | InputFailed:
    """Distinguish a file that cannot be used from an input that failed, for example because a disk was unplugged.

    A file that was not there when it was searched for has size 0 and is unusable, like a broken link.
    """
    if error.errno in {errno.ENOENT, errno.ENOTDIR} and file.size:
        return _disappeared(file)
    if error.errno in FILE_ERRNOS:
        return RawFileError(str(file), 0, f"cannot be read: {error.strerror or error}")
    return InputFailed(
        f"{file}: cannot be read: {error.strerror}; nothing was published; check its disk or network, "
        "then run the same command again"
    )


def _disappeared(file: RawFile) -> InputFailed:
    return InputFailed(
        f"{file}: has disappeared since the recordings were listed; nothing was published; put it back, or mount its "
        "disk again, then run the same command again"
    )


def read(file: RawFile) -> bytes:
    """Return the bytes of a file.

    Raises:
        RawFileError, InputFailed: as `open_file`.
    """
    with open_file(file) as stream:
        return stream.read() or b""


def crc32(file: RawFile) -> int:
    """Return the crc32 of a file (as recorded in its archive, if it is in one); 0 if it cannot be read.

    Raises:
        InputFailed: as `open_file`.
    """
    try:
        if file.member:
            return _archive(*_identity(file.path)).members[file.member].CRC
        total = 0
        with regular_files.open_file(file.path) as stream:
            while block := stream.read(BLOCK_BYTES):
                total = isal_zlib.crc32(block, total)
    except OSError as error:
        if isinstance(failed := _read_error(file, error), InputFailed):
            raise failed from error
        return 0
    except (KeyError, BadZipFile):
        return 0
    return total


def fingerprint(file: RawFile) -> list[Any]:
    """Return member name, size and modification time, which detect a changed file; None if it does not exist."""
    try:
        status = file.path.stat()
    except OSError:
        return [file.member, None, None]
    return [file.member, status.st_size, status.st_mtime_ns]


def _walk(root: Path, visited: set[Path]) -> Iterator[Path]:
    """Yield the files at or below a root that were not visited before; update `visited`."""
    if not root.exists():
        raise ArtifactNotFound(root, "name the folder that holds the recordings")
    if not root.is_file() and not root.is_dir():
        raise SkelepipeError(f"{root}: is not a regular file or a folder; name the folder that holds the recordings")
    if root.is_file():
        path = Path(os.path.realpath(root.parent)) / root.name
        if path not in visited:
            visited.add(path)
            yield root
        return

    def raise_error(error: OSError) -> None:
        raise error

    for folder, folders, names in os.walk(root, onerror=raise_error, followlinks=True):
        if (real := Path(os.path.realpath(folder))) in visited:
            folders.clear()  # a link to a parent, or a root inside another
            continue
        visited.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        visible = (name for name in sorted(names) if not name.startswith("."))
        yield from (Path(folder, name) for name in visible if real / name not in visited)


def _members(path: Path, left_out: Counter[str]) -> Iterator[RawFile]:
    """Yield the files in a zip archive, without hidden files and those that macOS adds."""
    try:
        members = _archive(*_identity(path)).members
    except UnsuitableFile as error:
        raise SkelepipeError(f"{path}: {error.strerror}") from error
    except (BadZipFile, OSError) as error:
        if isinstance(error, OSError) and error.errno not in {None, errno.EINVAL}:  # these two: damaged
            raise _read_error(RawFile(path, size=1), error) from error
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


@lru_cache(maxsize=MAX_DIRECTORIES)
def _archive(path: Path, size: int, modified: int) -> Archive:
    """Read the directory of an archive; it is cached as long as the file does not change."""
    return Archive(path)
