"""Allow one writer per output: a file lock that the kernel releases when its owner dies."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from pipeline.errors import OutputFailed, OutputLocked
from pipeline.files.disk import disk_errors, make_folder
from pipeline.files.regular_files import UnsuitableFile, open_to_append


@contextmanager
def sole_writer(output: Path, wait: float = 0) -> Iterator[None]:
    """Hold the lock of one output; the kernel releases the lock of a process that died.

    Args:
        output: what the lock protects; its folder is created if missing.
        wait: seconds to wait for the lock.

    Raises:
        OutputLocked: another process holds it.
        OutputFailed: the folder cannot be written, or the lock file is not a regular file.
    """
    path = output.parent / f".{output.name}.lock"
    with disk_errors(output):
        make_folder(output.parent)
        try:
            open_to_append(path).close()
        except FileNotFoundError:  # in /proc, for example; filelock would report the lock as held
            raise PermissionError(errno.EACCES, f"no file can be created in {output.parent}") from None
        except UnsuitableFile as error:
            raise OutputFailed(f"{path}: {error.strerror}; remove it") from None
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
