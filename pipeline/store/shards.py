"""Read columns from a shard file directly, as FORMAT.md describes it; zarr takes three times as long.

Thread-safe: the file is opened for each read, and decompression releases the GIL.
"""

import os
from pathlib import Path

import google_crc32c
import numpy as np
from numcodecs import blosc
from numpy.typing import NDArray

from pipeline.files.regular_files import open_buffered

CHECKSUM_BYTES = 4
"""Size of a crc32c, which follows the data."""


def read_columns(path: Path, size: int, chunks: int, out: NDArray[np.float32], chunk: int, first: int) -> None:
    """Fill out (C, V, n) with the n columns of a shard from `first` on; NaN is kept.

    Args:
        path: the shard file.
        size: its expected size in bytes.
        chunks: number of inner chunks in its index.
        out: float32, any values; the shard must have these n columns.
        chunk: columns per inner chunk.
        first: the first column, counted within the shard.

    Raises:
        ValueError: a checksum or a size differs; the message says which.
        OSError: the file is missing or cannot be read.
    """
    rows, last = out.shape[:2], first + out.shape[2]
    with open_buffered(path) as handle:
        if os.fstat(handle.fileno()).st_size != size:
            raise ValueError(f"it has {os.fstat(handle.fileno()).st_size} bytes, expected {size}")
        handle.seek(-(16 * chunks + CHECKSUM_BYTES), os.SEEK_END)
        index = np.frombuffer(_strip_checksum(handle.read(), "the index"), "<u8").reshape(chunks, 2)
        for number in range(first // chunk, (last - 1) // chunk + 1):
            offset, length = index[number].tolist()
            if offset + length > size:
                raise ValueError(f"chunk {number} ends at byte {offset + length} of {size}")
            handle.seek(offset)
            packed = _strip_checksum(handle.read(length), f"chunk {number}")
            if (claimed := int.from_bytes(packed[4:8], "little")) != (expected := rows[0] * rows[1] * chunk * 4):
                raise ValueError(f"chunk {number} claims to hold {claimed} bytes, expected {expected}")
            columns = np.frombuffer(blosc.decompress(packed), "<f4").reshape(*rows, chunk)
            start = number * chunk
            begin, end = max(first, start), min(last, start + chunk)
            out[:, :, begin - first : end - first] = columns[:, :, begin - start : end - start]


def _strip_checksum(content: bytes, what: str) -> memoryview:
    """Return the data before its checksum, after verifying it."""
    body = memoryview(content)[:-CHECKSUM_BYTES]
    if google_crc32c.value(bytes(body)) != int.from_bytes(content[-CHECKSUM_BYTES:], "little"):
        raise ValueError(f"the checksum of {what} does not match")
    return body
