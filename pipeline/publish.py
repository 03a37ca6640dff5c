"""Making output appear whole or not at all: locks, atomic replacement, and what the disk says when it cannot.

Everything is written under a hidden name beside its final place, synced, and then renamed. A reader sees nothing, the
old artifact or the complete new one; never a half.
"""

import errno
import glob
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout

from pipeline.errors import OutputFailed, OutputLocked

_DISK = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS),
    *(errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR),
}


@contextmanager
def sole_writer(output: Path, wait: float = 0) -> Iterator[None]:
    """Hold the lock of one output; a lock whose owner died is free again, for the kernel releases it.

    Args:
        output: what the lock is for; its folder is made if it is not there.
        wait: seconds to wait for the lock.

    Raises:
        OutputLocked: another process holds it.
        OutputFailed: the folder cannot be written.
    """
    with disk_errors(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(output.parent / f".{output.name}.lock", timeout=wait)
        try:
            lock.acquire()
        except Timeout:
            raise OutputLocked(
                f"{output}: another process is writing it; wait for it to end or name another --out"
            ) from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def disk_errors(output: Path, needed: int = 0) -> Iterator[None]:
    """Turn the disk's refusals into one clear line that says where, how much is needed (bytes, if known) and free.

    Raises:
        OutputFailed: no space, no permission, read-only or broken.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK:
            raise
        room = ""
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            folder = next(parent for parent in [output, *output.absolute().parents] if parent.is_dir())
            asked = f"needs about {needed / 1e6:.0f} MB, " if needed else ""
            room = f" ({asked}{shutil.disk_usage(folder).free / 1e6:.0f} MB free)"
        raise OutputFailed(
            f"{output}: cannot be written: {error.strerror}{room}; nothing was published there"
        ) from error


def sync_folder(folder: Path) -> None:
    """Bring one folder's list of names to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
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


@contextmanager
def whole_file(path: Path, *, make_folder: bool = True) -> Iterator[Path]:
    """A place to write one file at, under a name of its own (hosts may share the folder), that then appears whole.

    Args:
        path: the file.
        make_folder: make the folder if it is not there.

    Raises:
        OutputFailed: the disk refuses, or a device or pipe stands there, which is not replaced.
        FileNotFoundError: the folder is not there and is not to be made.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise OutputFailed(f"{path}: is a device or a pipe, expected a file's name; name another")
    partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}.partial")
    with disk_errors(path):
        if make_folder:
            path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield partial
            with partial.open("rb") as handle:
                os.fsync(handle.fileno())
            partial.replace(path)
            sync_folder(path.parent)
        finally:
            partial.unlink(missing_ok=True)


def write_file(path: Path, fill: bytes | Callable[[BinaryIO], None], *, make_folder: bool = True) -> None:
    """Write one file so that it appears whole: `fill` is its content, or writes that to the handle that it is given.

    Raises:
        OutputFailed, FileNotFoundError: as `whole_file`.
    """
    with whole_file(path, make_folder=make_folder) as partial, partial.open("wb") as handle:
        if isinstance(fill, bytes):
            handle.write(fill)
        else:
            fill(handle)


def require_room(output: Path, needed: int) -> None:
    """Make sure that the disk has so many bytes free, before anything is written.

    Raises:
        OutputFailed: it has not.
    """
    folder = next(parent for parent in [output, *output.absolute().parents] if parent.is_dir())
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OutputFailed(
            f"{output}: needs about {needed / 1e6:,.0f} MB, {free / 1e6:,.0f} MB are free; nothing was written"
        )


def forget_partials(path: Path) -> None:
    """Remove what killed writers of a file have left of it; the caller holds a lock, so that none is at work."""
    for partial in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
        partial.unlink(missing_ok=True)


def publish_folder(made: Path, output: Path) -> None:
    """Rename a finished folder to its final name, in place of what stands there.

    The old artifact is moved aside first, so a kill in between leaves no output rather than a mixed one.

    Raises:
        OutputFailed: the disk refuses.
    """
    with disk_errors(output):
        sync_tree(made)
        forget_replaced(output)
        if output.exists():
            output.rename(_aside(output))
        made.rename(output)
        sync_folder(output.parent)
        forget_replaced(output)


def forget_replaced(output: Path) -> None:
    """Remove what `output` has replaced, which a kill right after the replacement leaves beside it."""
    shutil.rmtree(_aside(output), ignore_errors=True)


def _aside(output: Path) -> Path:
    return output.with_name(f".{output.name}.replaced")
