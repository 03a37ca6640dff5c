"""Read text files into a buffer for the compiled parsers; find and quote faulty text for messages."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from pipeline.files.regular_files import open_file
from pipeline.sources import text_kernels

PADDING = text_kernels.PADDING
"""Bytes that must follow the text in the buffer of a parser; `terminate` sets them to zero."""
PIECE_BYTES = 1 << 20
"""Bytes of a refused text that are searched at a time."""
MAX_LINE_BYTES = 1 << 16
"""Longest line whose fields are counted for a message."""

_MAGIC_BYTES = {
    b"\xef\xbb\xbf": "a UTF-8 byte order mark",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
    b"PK\x03\x04": "a zip archive",
    b"\x1f\x8b": "a gzip archive",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
}


class ByteStream(Protocol):
    """Anything that can be read into a buffer: open binary files, members of zips, `io.BytesIO`."""

    def readinto(self, buffer: memoryview, /) -> int | None: ...  # noqa: D102


class TextReader:
    """Reads one file after another into the same growing buffer, so that the buffer stays in the processor's cache."""

    def __init__(self) -> None:
        self.text = np.zeros(2**19, np.uint8)
        """The bytes of the last file, followed by at least `PADDING` more; overwritten by the next read."""

    def read_file(self, path: Path) -> tuple[int, int]:
        """Read a whole file; return its size and crc32.

        Raises:
            OSError: the file cannot be read.
        """
        with open_file(path) as stream:
            return self.read(stream)

    def read(self, stream: ByteStream) -> tuple[int, int]:
        """Read a stream, such as a member of a zip, to its end; return its size and crc32.

        Raises:
            OSError: the stream cannot be read.
        """
        size = checksum = 0
        while True:
            if len(self.text) <= size + PADDING:
                self.text = np.concatenate([self.text, np.zeros_like(self.text)])
            free = self.text[size:-PADDING].data
            count = stream.readinto(free)
            if not count:
                return size, checksum
            checksum = isal_zlib.crc32(free[:count], checksum)
            size += count


def terminate(text: NDArray[np.uint8], size: int) -> None:
    """Set the `PADDING` bytes after a text of `size` bytes to zero; the compiled loops stop there.

    Raises:
        ValueError: the buffer is too short.
    """
    if len(text) < size + PADDING:
        raise ValueError(f"{size} bytes of text need a buffer of {size + PADDING}, got {len(text)}")
    text[size : size + PADDING] = 0


def convert_inexact(text: NDArray[np.uint8], inexact: NDArray[np.int64], numbers: NDArray[np.float32]) -> None:
    """Convert in Python the numbers that the compiled loops could not convert exactly.

    `inexact` (n, 3) has for each of them its index in `numbers`, and its offset and length in the text.
    """
    for index, start, length in inexact.tolist():
        numbers[index] = np.float32(float(text[start : start + length].tobytes()))


@dataclass(frozen=True, slots=True)
class Line:
    """The line of a text in which parsing stopped."""

    number: int
    """From 1."""
    first: int
    """Offset of its first byte."""
    size: int
    """Bytes, without the line end."""
    is_last: bool
    """Whether the text ends with this line, without a line end."""


def line_at(text: NDArray[np.uint8], at: int) -> Line:
    """Return the line around an offset, without a copy of the text or of the line, which may have gigabytes."""
    number, first = 1, 0
    for start in range(0, at, PIECE_BYTES):
        piece = text[start : min(at, start + PIECE_BYTES)].tobytes()
        number += piece.count(b"\n")
        if (last := piece.rfind(b"\n")) >= 0:
            first = start + last + 1
    for start in range(at, len(text), PIECE_BYTES):
        if (end := text[start : start + PIECE_BYTES].tobytes().find(b"\n")) >= 0:
            return Line(number, first, start + end - first, is_last=False)
    return Line(number, first, len(text) - first, is_last=True)


def explain_foreign_format(text: bytes) -> str:
    """Say what a file is that is no plain text, by its first bytes, and what to do; empty when they are not known."""
    for magic, kind in _MAGIC_BYTES.items():
        if text.startswith(magic):
            return f"this is {kind}, expected plain ASCII text; convert or unpack it"
    return ""


def quote(field: bytes) -> str:
    """Format a field for a message: printable, and at most 40 characters."""
    shown = field[:41].decode("ascii", "backslashreplace")
    return repr(shown if len(field) <= 40 and len(shown) <= 40 else shown[:40] + "...")
