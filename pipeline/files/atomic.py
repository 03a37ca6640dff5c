"""Atomic writes: files and folders appear complete, by an atomic rename, or not at all.

Everything is written under a hidden temporary name in the same folder, synced to disk, and then renamed. A reader sees
nothing, the old artifact or the complete new one, never a partial one.
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

from pipeline.errors import OutputExists, OutputFailed
from pipeline.files.disk import disk_errors, make_folder, sync_folder, sync_tree
from pipeline.files.locks import sole_writer
from pipeline.files.system_files import entries

RANDOM_BYTES = 8
RANDOM_PART = "[0-9a-f]" * (2 * RANDOM_BYTES)
"""Glob of the random part of temporary names: files of others with similar names are not removed."""


@contextmanager
def atomic_path(path: Path, *, needed: int = 0, new_folder: bool = True) -> Iterator[Path]:
    """Yield a temporary path; after the block, rename it to `path` atomically.

    The temporary name is random, because several hosts may share the folder.

    Args:
        path: the file.
        needed: its size in bytes, if known, for the message when the disk is full.
        new_folder: create missing parent folders.

    Raises:
        OutputFailed: the file cannot be written, or `path` is a device or a pipe, which is not replaced.
        FileNotFoundError: the folder does not exist and `new_folder` is false.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise OutputFailed(f"{path}: is a device or a pipe, not a file; remove it or choose another name")
    partial = path.with_name(f".{path.name}.{secrets.token_hex(RANDOM_BYTES)}.partial")
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
    path: Path, content: bytes | Callable[[BinaryIO], None], *, needed: int = 0, new_folder: bool = True
) -> None:
    """Write one file atomically; `content` is its bytes or a function that writes them to the open file.

    Raises:
        OutputFailed, FileNotFoundError: as `atomic_path`.
    """
    needed = len(content) if isinstance(content, bytes) else needed
    with atomic_path(path, needed=needed, new_folder=new_folder) as partial, partial.open("wb") as handle:
        if isinstance(content, bytes):
            handle.write(content)
        else:
            content(handle)


@contextmanager
def sole_file_writer(path: Path, wait: float = 0) -> Iterator[None]:
    """Hold the lock of a file, and remove the temporary files of writers that were killed.

    Raises:
        OutputLocked, OutputFailed: as `sole_writer`.
    """
    with sole_writer(path, wait):
        remove_partials(path.parent, path.name)
        yield


def remove_partials(folder: Path, name: str = "") -> None:
    """Remove temporary files that killed writers left in a folder, of all files or of the one named.

    The caller must hold the lock, so that no writer is active.

    Raises:
        OutputFailed: the disk cannot be written.
    """
    with disk_errors(folder / name):
        for partial in folder.glob(f".{glob.escape(name) if name else '*'}.{RANDOM_PART}.partial"):
            if partial.is_file():
                partial.unlink(missing_ok=True)


def publish_folder(finished: Path, output: Path) -> None:
    """Rename a finished folder to its final name, replacing an existing output.

    The old output is renamed first, so a kill between the two renames leaves no output rather than a mixed one.

    Raises:
        OutputFailed: the disk cannot be written; the old output is still in place.
    """
    with disk_errors(output, sum(path.stat().st_size for path in finished.rglob("*"))):
        sync_tree(finished)
        remove_replaced(output)
        if output.exists():
            output.rename(_replaced_path(output))
        try:
            finished.rename(output)
        except OSError:
            if _replaced_path(output).exists():
                _replaced_path(output).rename(output)
            raise
        sync_folder(output.parent)
        remove_replaced(output)


def remove_folder(output: Path) -> None:
    """Remove a folder; it is renamed first, so that a kill leaves either all of it or nothing under its name.

    Raises:
        OutputFailed: the disk cannot be written.
    """
    with disk_errors(output):
        remove_replaced(output)
        output.rename(_replaced_path(output))
        sync_folder(output.parent)
        remove_replaced(output)


def remove_replaced(output: Path) -> None:
    """Remove the previous version of `output`, which remains if the writer was killed right after replacing it."""
    shutil.rmtree(_replaced_path(output), ignore_errors=True)


def _replaced_path(output: Path) -> Path:
    return output.with_name(f".{output.name}.replaced")


@contextmanager
def new_folder(output: Path) -> Iterator[Path]:
    """Yield a temporary folder; after the block, rename it to `output`, or remove it if the block failed.

    Raises:
        OutputExists: `output` is not an empty folder.
        OutputLocked: another process is writing it.
        OutputFailed: the disk cannot be written.
    """
    output = Path(os.path.realpath(output))
    with sole_writer(output), disk_errors(output, outcome="the data set was not written"):
        if output.is_symlink():  # to itself; all other links are resolved
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        if output.exists() and (not output.is_dir() or any(entries(output))):
            raise OutputExists(
                f"{output}: exists and is not an empty folder; name a new folder, or empty this one first"
            )
        # Another name, so that an interrupted command leaves nothing that looks like a complete data set.
        partial = output.with_name(f".{output.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            yield partial
            publish_folder(partial, output)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
