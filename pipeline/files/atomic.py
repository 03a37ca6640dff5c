"""Making output appear whole or not at all: locks, atomic replacement, and what the disk says when it cannot.

Everything is written under a hidden name beside its final place, synced, and then renamed. A reader sees nothing, the
old artifact or the complete new one; never a half.
"""

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


@contextmanager
def atomic_path(path: Path, *, needed: int = 0, new_folder: bool = True) -> Iterator[Path]:
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
    with atomic_path(path, needed=needed, new_folder=new_folder) as partial, partial.open("wb") as handle:
        if isinstance(fill, bytes):
            handle.write(fill)
        else:
            fill(handle)


@contextmanager
def sole_file_writer(path: Path, wait: float = 0) -> Iterator[None]:
    """Be the only writer of a file, and remove what killed ones have left beside it.

    Raises:
        OutputLocked, OutputFailed: as `sole_writer`.
    """
    with sole_writer(path, wait):
        remove_partials(path.parent, path.name)
        yield


def remove_partials(folder: Path, name: str = "") -> None:
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
        remove_replaced(output)
        if output.exists():
            output.rename(_replaced_path(output))
        try:
            made.rename(output)
        except OSError:
            if _replaced_path(output).exists():
                _replaced_path(output).rename(output)
            raise
        sync_folder(output.parent)
        remove_replaced(output)


def remove_folder(output: Path) -> None:
    """Take a folder away in one move, so that a kill in between leaves no half of it.

    Raises:
        OutputFailed: the disk refuses.
    """
    with disk_errors(output):
        remove_replaced(output)
        output.rename(_replaced_path(output))
        sync_folder(output.parent)
        remove_replaced(output)


def remove_replaced(output: Path) -> None:
    """Remove what `output` has replaced, which a kill right after the replacement leaves beside it."""
    shutil.rmtree(_replaced_path(output), ignore_errors=True)


def _replaced_path(output: Path) -> Path:
    return output.with_name(f".{output.name}.replaced")


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder to fill, which becomes `out` when all has gone well and vanishes when it has not.

    Raises:
        OutputExists: `out` holds something already.
        OutputLocked: another process is writing it.
        OutputFailed: the disk refuses.
    """
    out = out.resolve()
    with sole_writer(out), disk_errors(out, outcome="the set was not written"):
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise OutputExists(f"{out}: is there and not an empty folder; name a new folder, or empty this one first")
        # Written under another name, so that what an interrupted run leaves is never taken for a whole set.
        partial = out.with_name(f".{out.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            yield partial
            publish_folder(partial, out)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
