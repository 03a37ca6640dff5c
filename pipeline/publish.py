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
    *(errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG),
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
    path = output.parent / f".{output.name}.lock"
    with disk_errors(output):
        make_folder(output.parent)
        try:
            path.open("ab").close()
        except FileNotFoundError:  # /proc, for one; filelock would take the lock for held
            raise PermissionError(errno.EACCES, f"no file can be made in {output.parent}") from None
        lock = FileLock(path, timeout=wait)
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
        if error.errno not in _DISK:
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


@contextmanager
def whole_file(path: Path, *, needed: int = 0, new_folder: bool = True) -> Iterator[Path]:
    """A place to write one file at, under a name of its own (hosts may share the folder), that then appears whole.

    Args:
        path: the file.
        needed: bytes that it will have, if known, for what is said when the disk is full.
        new_folder: make the folder if it is not there.

    Raises:
        OutputFailed: the disk refuses, or a device or pipe stands there, which is not replaced.
        FileNotFoundError: the folder is not there and is not to be made.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise OutputFailed(f"{path}: is a device or a pipe, expected a file's name; name another")
    partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}.partial")
    with disk_errors(path, needed):
        if new_folder:
            make_folder(path.parent)
        try:
            yield partial
            with partial.open("rb") as handle:
                os.fsync(handle.fileno())
            partial.replace(path)
            sync_folder(path.parent)
        finally:
            partial.unlink(missing_ok=True)


def write_file(
    path: Path, fill: bytes | Callable[[BinaryIO], None], *, needed: int = 0, new_folder: bool = True
) -> None:
    """Write one file so that it appears whole: `fill` is its content, or writes that to the handle that it is given.

    Raises:
        OutputFailed, FileNotFoundError: as `whole_file`.
    """
    needed = len(fill) if isinstance(fill, bytes) else needed
    with whole_file(path, needed=needed, new_folder=new_folder) as partial, partial.open("wb") as handle:
        if isinstance(fill, bytes):
            handle.write(fill)
        else:
            fill(handle)


@contextmanager
def sole_file(path: Path, wait: float = 0) -> Iterator[None]:
    """Be the only writer of a file, and remove what killed ones have left beside it.

    Raises:
        OutputLocked, OutputFailed: as `sole_writer`.
    """
    with sole_writer(path, wait):
        forget_partials(path.parent, path.name)
        yield


def require_room(output: Path, needed: int) -> None:
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


def forget_partials(folder: Path, name: str = "") -> None:
    """Remove what killed writers of a folder's files, or of the one that is named, have left of them.

    The caller holds a lock, so that none is at work.

    Raises:
        OutputFailed: the disk refuses.
    """
    with disk_errors(folder / name):
        for partial in folder.glob(f".{glob.escape(name)}.*.partial" if name else ".*.partial"):
            if partial.is_file():
                partial.unlink(missing_ok=True)


def publish_folder(made: Path, output: Path) -> None:
    """Rename a finished folder to its final name, in place of what stands there.

    The old artifact is moved aside first, so a kill in between leaves no output rather than a mixed one.

    Raises:
        OutputFailed: the disk refuses; the old artifact is where it was.
    """
    with disk_errors(output, sum(path.stat().st_size for path in made.rglob("*"))):
        sync_tree(made)
        forget_replaced(output)
        if output.exists():
            output.rename(_aside(output))
        try:
            made.rename(output)
        except OSError:
            if _aside(output).exists():
                _aside(output).rename(output)
            raise
        sync_folder(output.parent)
        forget_replaced(output)


def remove_folder(output: Path) -> None:
    """Take a folder away in one move, so that a kill in between leaves no half of it.

    Raises:
        OutputFailed: the disk refuses.
    """
    with disk_errors(output):
        forget_replaced(output)
        output.rename(_aside(output))
        sync_folder(output.parent)
        forget_replaced(output)


def forget_replaced(output: Path) -> None:
    """Remove what `output` has replaced, which a kill right after the replacement leaves beside it."""
    shutil.rmtree(_aside(output), ignore_errors=True)


def _aside(output: Path) -> Path:
    return output.with_name(f".{output.name}.replaced")
