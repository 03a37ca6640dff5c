"""Disk space, fsync, and disk errors turned into one clear message."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import OutputFailed

DISK_ERRNOS = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS),
    *(errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP),
    *(errno.ENXIO, errno.ENODEV, errno.ESTALE, errno.ENOTCONN, errno.EHOSTDOWN, errno.ETIMEDOUT, errno.EREMOTEIO),
}


@contextmanager
def disk_errors(output: Path, needed: int = 0, outcome: str = "nothing was written there") -> Iterator[None]:
    """Turn an OSError of the disk into one message: the path, the space needed and free, and the outcome.

    Args:
        output: the file or folder to be written.
        needed: its size in bytes, if known.
        outcome: the state after the error, for the message.

    Raises:
        OutputFailed: no space, no permission, a read-only or a broken disk.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_ERRNOS:
            raise
        space = ""
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            needs = f"needs about {needed / 1e6:.0f} MB, " if needed else ""
            space = f" ({needs}{free_bytes(output) / 1e6:.0f} MB free)"
        raise OutputFailed(f"{output}: cannot be written: {error.strerror}{space}; {outcome}") from error


def make_folder(folder: Path) -> None:
    """Create a folder and its missing parents, synced so that a power failure loses none of them.

    Raises:
        OSError: a folder cannot be created.
    """
    if not folder.exists():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Sync the entries of one folder to disk; file systems that do not support it do not need it."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ENOTSUP}:
            raise
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """Sync `folder` and every file and folder below it to disk."""
    for parent, _, names in os.walk(folder):
        for name in names:
            handle = os.open(Path(parent, name), os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
        sync_folder(Path(parent))


def require_free_space(output: Path, needed: int) -> None:
    """Check, before anything is written, that the disk has enough free space.

    Raises:
        OutputFailed: fewer than `needed` bytes are free.
    """
    free = free_bytes(output)
    if needed > free:
        raise OutputFailed(
            f"{output}: needs about {needed / 1e6:,.0f} MB, {free / 1e6:,.0f} MB are free; nothing was written"
        )


def free_bytes(path: Path) -> int:
    """Return the free bytes of the disk that holds a path, which need not exist."""
    return shutil.disk_usage(nearest_folder(path)).free


def nearest_folder(path: Path) -> Path:
    """Return the path itself if it is a folder, otherwise its nearest existing parent."""
    return next(parent for parent in [path.absolute(), *path.absolute().parents] if parent.is_dir())


def folder_size(folder: Path) -> int:
    """Return the size in bytes of all files in a folder, at any depth."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
