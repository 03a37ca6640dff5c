"""Arrays out of .npy and .npz files: no more memory is taken for what one claims to hold than it has bytes for."""

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
"""How either kind of file begins."""
_HEADERS = {(1, 0): (2, np.lib.format.read_array_header_1_0), (2, 0): (4, np.lib.format.read_array_header_2_0)}
"""By version: bytes of the header's length, and what reads it with the header."""


def read_arrays(stream: IO[bytes] | io.RawIOBase | io.BufferedIOBase) -> Mapping[str, Callable[[], Any]]:
    """The arrays of an .npz by name, or under no name that of a .npy file; each is read when it is called.

    Args:
        stream: can seek, and stays open as long as something is to be read.

    Raises:
        Exception: of nearly any kind, as numpy and zipfile raise over a damaged file; what is returned does so, too.
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
    about = archive.getinfo(name)
    if about.file_size > BOMB_BYTES and about.file_size > BOMB_RATIO * about.compress_size:
        raise ValueError(f"{name}: {about.file_size} bytes out of {about.compress_size}, as in zip bombs")
    with archive.open(name) as stream:
        if not stream.read(6).startswith(MAGIC_BYTES[0]):
            raise ValueError(f"{name} is no array")
        return _array(stream, about.file_size)


def _array(stream: IO[bytes], size: int) -> NDArray[Any]:
    """The one array of a stream of so many bytes."""
    stream.seek(0)
    version = np.lib.format.read_magic(stream)
    if version not in _HEADERS:
        raise ValueError("it is of a version of .npy that holds no plain numbers")
    width, header = _HEADERS[version]
    begins = stream.tell()
    length = int.from_bytes(stream.read(width), "little")
    if length > size:
        raise ValueError(f"it says that its header has {length} bytes, of {size}")
    stream.seek(begins)
    shape, _, kind = header(stream)
    if kind.hasobject:
        raise ValueError("it needs allow_pickle")
    held, claimed = size - stream.tell(), math.prod(shape) * kind.itemsize
    if claimed != held:
        more = "more follows after its array" if claimed < held else "it is cut short"
        raise ValueError(f"{more}: {held} bytes, an array of {shape} has {claimed}")
    stream.seek(0)
    array: NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
    return array
