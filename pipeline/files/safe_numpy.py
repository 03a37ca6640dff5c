"""Read .npy and .npz files safely: no pickles, and never more memory than the file really has bytes for."""

import io
import math
import zipfile
from collections.abc import Callable, Mapping
from functools import partial
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from pipeline.files.safe_zip import BOMB_BYTES, BOMB_RATIO

MAGIC_BYTES = (b"\x93NUMPY", b"PK")
"""First bytes of .npy and .npz files."""
_HEADERS = {(1, 0): (2, np.lib.format.read_array_header_1_0), (2, 0): (4, np.lib.format.read_array_header_2_0)}
"""By version: the width in bytes of the header length, and the function that reads length and header."""


def read_arrays(stream: IO[bytes] | io.RawIOBase | io.BufferedIOBase) -> Mapping[str, Callable[[], Any]]:
    """Return functions that read the arrays of an .npz by name, or the one array of a .npy under the empty name.

    Args:
        stream: seekable, and open until the last array is read.

    Raises:
        Exception: of nearly any kind, as numpy and zipfile raise for a damaged file; so do the returned functions.
    """
    magic = stream.read(6) or b""
    if not magic.startswith(MAGIC_BYTES):
        raise ValueError(f"it begins with {magic!r}" if magic else "it is empty")
    stream.seek(0)
    if not magic.startswith(b"PK"):
        return {"": partial(_array, cast(IO[bytes], stream), stream.seek(0, io.SEEK_END))}
    archive = zipfile.ZipFile(cast(IO[bytes], stream))
    return {name.removesuffix(".npy"): partial(_member, archive, name) for name in archive.namelist()}


def _member(archive: zipfile.ZipFile, name: str) -> Any:
    info = archive.getinfo(name)
    if info.file_size > BOMB_BYTES and info.file_size > BOMB_RATIO * info.compress_size:
        raise ValueError(f"{name}: {info.file_size} bytes out of {info.compress_size}, as in zip bombs")
    with archive.open(name) as stream:
        if not stream.read(6).startswith(MAGIC_BYTES[0]):
            raise ValueError(f"{name} is not an array")
        return _array(stream, info.file_size)


def _array(stream: IO[bytes], size: int) -> NDArray[Any]:
    """Read the one array of a stream of `size` bytes."""
    stream.seek(0)
    version = np.lib.format.read_magic(stream)
    if version not in _HEADERS:
        raise ValueError("it has a .npy version that is not used for plain numbers")
    width, header = _HEADERS[version]
    start = stream.tell()
    length = int.from_bytes(stream.read(width), "little")
    if length > size:
        raise ValueError(f"it claims a header of {length} bytes in a file of {size}")
    stream.seek(start)
    shape, _, dtype = header(stream)
    if dtype.hasobject:
        raise ValueError("it needs allow_pickle")
    available, claimed = size - stream.tell(), math.prod(shape) * dtype.itemsize
    if claimed != available:
        problem = "it has more data after its array" if claimed < available else "it is truncated"
        raise ValueError(f"{problem}: {available} bytes, an array of {shape} has {claimed}")
    stream.seek(0)
    array: NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
    return array
