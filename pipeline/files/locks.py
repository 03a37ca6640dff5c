"""Allow one writer per output: a file lock that the kernel releases when its owner dies."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from pipeline.errors import OutputLocked
from pipeline.files.disk import disk_errors, make_folder


@contextmanager
def sole_writer(output: Path, wait: float = 0) -> Iterator[None]:
    """Hold the lock of one output; the kernel releases the lock of a process that died.

    Args:
        output: what the lock protects; its folder is created if missing.
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
        except FileNotFoundError:  # in /proc, for example; filelock would report the lock as held
            raise PermissionError(errno.EACCES, f"no file can be created in {output.parent}") from None
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
