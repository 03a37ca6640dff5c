"""Open only regular files: a pipe, a socket or a device would block the program or never end.

The type is checked after opening, so that the file cannot be replaced in between, and opening never waits. A folder is
refused as usual (IsADirectoryError).
"""

import errno
import io
import os
import stat
from pathlib import Path

MAX_DOCUMENT_BYTES = 1 << 30
"""Largest document, table or configuration that is read whole; a manifest.csv of a million rows has 0.1 GB."""
_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_NO_WAIT = os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class UnsuitableFile(OSError):
    """A path is not a regular file, or the file is too large; `strerror` is the reason."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(errno.EINVAL, reason, str(path))


def open_file(path: Path) -> io.FileIO:
    """Open a regular file for reading, unbuffered.

    Raises:
        UnsuitableFile: it is a pipe, a socket or a device.
        OSError: it cannot be opened, or is a folder.
    """
    return _open(path, os.O_RDONLY, "rb")


def open_to_append(path: Path) -> io.FileIO:
    """Open a regular file, or a new one, for writing at its end, unbuffered.

    Raises:
        UnsuitableFile: it is a pipe, a socket or a device.
        OSError: it cannot be opened, or is a folder.
    """
    return _open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, "ab")


def open_buffered(path: Path) -> io.BufferedReader:
    """Open a regular file for reading with a buffer.

    Raises:
        UnsuitableFile, OSError: as `open_file`.
    """
    return io.BufferedReader(open_file(path))


def read_bytes(path: Path, max_bytes: int | None = MAX_DOCUMENT_BYTES) -> bytes:
    """Return the content of a regular file of at most `max_bytes`; None: of any size.

    Raises:
        UnsuitableFile: it is a pipe, a socket or a device, or larger.
        OSError: it cannot be read, or is a folder.
    """
    with open_file(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        if max_bytes is not None and size > max_bytes:
            raise UnsuitableFile(path, f"has {size:,} bytes, expected at most {max_bytes:,}")
        return stream.read()


def read_text(path: Path) -> str:
    """Return the text of a regular UTF-8 file, without a byte order mark.

    Raises:
        UnicodeDecodeError: it is not UTF-8.
        UnsuitableFile, OSError: as `read_bytes`.
    """
    return read_bytes(path).decode("utf-8-sig")


def _open(path: Path, flags: int, mode: str) -> io.FileIO:
    try:
        descriptor = os.open(path, flags | _NO_WAIT, 0o666)
    except OSError as error:
        # A socket cannot be opened at all, nor a pipe for writing while nobody reads it.
        if error.errno in {errno.ENXIO, errno.ENODEV, errno.EOPNOTSUPP}:
            _require_regular(path, path.stat().st_mode)
        raise
    stream = io.FileIO(descriptor, mode)
    try:
        _require_regular(path, os.fstat(descriptor).st_mode)
    except OSError:
        stream.close()
        raise
    return stream


def _require_regular(path: Path, mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise UnsuitableFile(path, f"is {_KINDS.get(stat.S_IFMT(mode), 'a special file')}, expected a regular file")
