"""Columns out of a shard file, by the bytes that STORE.md describes: without zarr, which takes three times as long.

Safe in any thread: files are opened for each read, and decompression runs outside Python's lock.
"""

import os
from pathlib import Path

import google_crc32c
import numpy as np
from numcodecs import blosc
from numpy.typing import NDArray

CHECKSUM_BYTES = 4
"""Bytes of a crc32c, behind what it is of."""


def read_columns(path: Path, size: int, chunks: int, out: NDArray[np.float32], chunk: int, first: int) -> None:
    """Fill out (C, V, n) with the n columns of a shard from `first` on, NaN where it has NaN.

    Args:
        path: the shard's file.
        size: bytes that it must have.
        chunks: inner chunks that its index has room for.
        out: float32, any values; n columns that the shard has.
        chunk: columns of an inner chunk.
        first: column within the shard.

    Raises:
        ValueError: a checksum or a size is not as it was written; the text says which.
        OSError: the file is gone or cannot be read.
    """
    rows, last = out.shape[:2], first + out.shape[2]
    with path.open("rb") as handle:
        if os.fstat(handle.fileno()).st_size != size:
            raise ValueError(f"it has {os.fstat(handle.fileno()).st_size} bytes, expected {size}")
        handle.seek(-(16 * chunks + CHECKSUM_BYTES), os.SEEK_END)
        index = np.frombuffer(_checked(handle.read(), "the index"), "<u8").reshape(chunks, 2)
        for number in range(first // chunk, (last - 1) // chunk + 1):
            offset, length = index[number].tolist()
            if offset + length > size:
                raise ValueError(f"chunk {number} ends at byte {offset + length} of {size}")
            handle.seek(offset)
            packed = _checked(handle.read(length), f"chunk {number}")
            if (holds := int.from_bytes(packed[4:8], "little")) != (wanted := rows[0] * rows[1] * chunk * 4):
                raise ValueError(f"chunk {number} says that it holds {holds} bytes, expected {wanted}")
            held = blosc.decompress(packed)
            columns = np.frombuffer(held, "<f4").reshape(*rows, chunk)
            start = number * chunk
            here, there = max(first, start), min(last, start + chunk)
            out[:, :, here - first : there - first] = columns[:, :, here - start : there - start]


def _checked(content: bytes, what: str) -> memoryview:
    """What stands before its checksum."""
    body = memoryview(content)[:-CHECKSUM_BYTES]
    if google_crc32c.value(bytes(body)) != int.from_bytes(content[-CHECKSUM_BYTES:], "little"):
        raise ValueError(f"the checksum of {what} does not match")
    return body
