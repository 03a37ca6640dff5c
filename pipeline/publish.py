"""Making output appear whole or not at all: locks, atomic replacement, and what the disk says when it cannot.

Everything is written under a hidden name beside its final place, synced, and then renamed. A reader sees nothing, the
old artifact or the complete new one; never a half.
"""

import errno
import os
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
def sole_writer(output: Path) -> Iterator[None]:
    """Hold the lock of one output; a lock whose owner died is free again, for the kernel releases it.

    Raises:
        OutputLocked: another process holds it.
        OutputFailed: the folder cannot be written.
    """
    with disk_errors(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(output.parent / f".{output.name}.lock", timeout=0)
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


def write_file(path: Path, fill: bytes | Callable[[BinaryIO], None]) -> None:
    """Write one file so that it appears whole: `fill` is the content, or writes it to the handle that it is given.

    Raises:
        OutputFailed: the disk refuses.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open("wb") as handle:
                if isinstance(fill, bytes):
                    handle.write(fill)
                else:
                    fill(handle)
                handle.flush()
                os.fsync(handle.fileno())
            partial.replace(path)
            sync_folder(path.parent)
        finally:
            partial.unlink(missing_ok=True)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A place to write one file to that then appears whole at `path`: for what wants a path and not a handle.

    Raises:
        OutputFailed: the disk refuses.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with disk_errors(path):
        try:
            yield partial
            with partial.open("rb") as handle:
                os.fsync(handle.fileno())
            partial.replace(path)
            sync_folder(path.parent)
        finally:
            partial.unlink(missing_ok=True)


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
