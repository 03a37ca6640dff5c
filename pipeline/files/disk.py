"""Disk space, fsync, and disk errors as one clear message."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import OutputFailed

DISK_ERRNOS = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS),
    *(errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG),
}


@contextmanager
def disk_errors(output: Path, needed: int = 0, outcome: str = "nothing was published there") -> Iterator[None]:
    """Turn the disk's refusals into one clear line that says where, how much is needed and free, and what came of it.

    Args:
        output: what was to be written.
        needed: bytes that it takes, if known.
        outcome: what there is now.

    Raises:
        OutputFailed: no space, no permission, read-only or broken.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_ERRNOS:
            raise
        room = ""
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            asked = f"needs about {needed / 1e6:.0f} MB, " if needed else ""
            room = f" ({asked}{free_bytes(output) / 1e6:.0f} MB free)"
        raise OutputFailed(f"{output}: cannot be written: {error.strerror}{room}; {outcome}") from error


def make_folder(folder: Path) -> None:
    """Make a folder and those above it that are not there; a power cut takes none of them back.

    Raises:
        OSError: the disk refuses.
    """
    if not folder.exists():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Bring one folder's list of names to the disk; some file systems know no such call and need none."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ENOTSUP}:
            raise
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """Bring every file and folder below `folder`, and `folder` itself, to the disk."""
    for here, _, names in os.walk(folder):
        for name in names:
            handle = os.open(Path(here, name), os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
        sync_folder(Path(here))


def require_free_space(output: Path, needed: int) -> None:
    """Make sure that the disk has so many bytes free, before anything is written.

    Raises:
        OutputFailed: it has not.
    """
    free = free_bytes(output)
    if needed > free:
        raise OutputFailed(
            f"{output}: needs about {needed / 1e6:,.0f} MB, {free / 1e6:,.0f} MB are free; nothing was written"
        )


def free_bytes(path: Path) -> int:
    """Bytes that are free on the disk where something lies, or would."""
    return shutil.disk_usage(nearest_folder(path)).free


def nearest_folder(path: Path) -> Path:
    """The folder, or the nearest one above it that is there, in which it would be made."""
    return next(parent for parent in [path.absolute(), *path.absolute().parents] if parent.is_dir())


def folder_size(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
