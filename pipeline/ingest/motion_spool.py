"""Collect the positions of clips, on disk beyond a limit; write them as one .npy, and read that block by block.

Clips may overlap, so they can be many times as large as the recording that they are cut from.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
from numpy.typing import NDArray

MEMORY_BYTES = 64 << 20
"""Positions that are kept in memory; a partition of recordings without overlapping clips has less than 10 MB."""
BLOCK_BYTES = 8 << 20


class MotionSpool:
    """The positions of clips in order, in memory or in a temporary file that has no name."""

    def __init__(self, folder: Path, joints: int) -> None:
        """Start an empty one; `folder` is where the temporary file is created, if it is needed."""
        # closed by __exit__; a file without a name disappears even if the process is killed
        self._file = tempfile.SpooledTemporaryFile(max_size=MEMORY_BYTES, dir=str(folder))  # noqa: SIM115
        self._joints = joints
        self.nbytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def append(self, xyz: NDArray[np.float32]) -> None:
        """Add a clip, (M, T, V, 3) metres.

        Raises:
            OSError: the temporary file cannot be written.
        """
        self._file.write(np.ascontiguousarray(xyz, np.float32).reshape(-1).data)
        self.nbytes += xyz.nbytes

    def write_npy(self, handle: IO[bytes]) -> None:
        """Write all as a .npy of (F, V, 3): body-frames, clip after clip, body after body."""
        shape = (self.nbytes // (12 * self._joints), self._joints, 3)
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(handle, header)
        self._file.seek(0)
        while block := self._file.read(BLOCK_BYTES):
            handle.write(block)


def read_npy_blocks(member: IO[bytes]) -> Iterator[NDArray[np.float32]]:
    """Yield a .npy that `MotionSpool.write_npy` wrote in blocks of body-frames, (F', V, 3).

    Raises:
        ValueError: it is another array, or truncated, or has bytes after the array.
        Exception: others that numpy and zipfile raise for damaged data.
    """
    np.lib.format.read_magic(member)
    shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(member)
    if len(shape) != 3 or is_fortran or dtype != np.dtype("<f4"):
        raise ValueError(f"positions are {dtype} {shape}, expected float32 (F, V, 3)")
    count = max(1, BLOCK_BYTES // (12 * max(1, shape[1])))
    for start in range(0, shape[0], count):
        block: NDArray[Any] = np.frombuffer(member.read(12 * shape[1] * min(count, shape[0] - start)), "<f4")
        yield block.reshape(min(count, shape[0] - start), *shape[1:])
    if member.read(1):  # also compares the checksum, at the end
        raise ValueError("there are bytes after the positions")
