"""Texts of any grammar: read into one buffer, the numbers that the loops leave, and what a refusal says of a text."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from pipeline.sources import text_kernels

PADDING = text_kernels.PADDING
"""Bytes that must follow the text in a buffer that is parsed; `terminate` sets them to zero."""
PIECE = 1 << 20
"""Bytes of a text that is refused that are looked at together."""
LONGEST_LINE = 1 << 16
"""Bytes of a line whose fields a refusal counts."""

_FOREIGN = {
    b"\xef\xbb\xbf": "a UTF-8 byte order mark",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
    b"PK\x03\x04": "a zip archive",
    b"\x1f\x8b": "a gzip archive",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
}


class ByteStream(Protocol):
    """What can be read into a buffer: open binary files, members of zips, `io.BytesIO`."""

    def readinto(self, room: memoryview, /) -> int | None: ...  # noqa: D102


class TextReader:
    """Reads one file after another into the same growing buffer, which thereby stays in the processor's cache."""

    def __init__(self) -> None:
        self.text = np.zeros(2**19, np.uint8)
        """The bytes read last, then at least `PADDING` more; overwritten by the next read."""

    def read_file(self, path: Path) -> tuple[int, int]:
        """Read a file whole; its size and crc32.

        Raises:
            OSError: the file cannot be read.
        """
        with path.open("rb", buffering=0) as stream:
            return self.read(stream)

    def read(self, stream: ByteStream) -> tuple[int, int]:
        """Read a stream, such as a member of a zip, to its end; its size and crc32.

        Raises:
            OSError: the stream cannot be read.
        """
        size = checksum = 0
        while True:
            if len(self.text) <= size + PADDING:
                self.text = np.concatenate([self.text, np.zeros_like(self.text)])
            room = self.text[size:-PADDING].data
            count = stream.readinto(room)
            if not count:
                return size, checksum
            checksum = isal_zlib.crc32(room[:count], checksum)
            size += count


def terminate(text: NDArray[np.uint8], size: int) -> None:
    """Set the `PADDING` bytes behind a text of so many bytes to zero, which is where the compiled loops stop.

    Raises:
        ValueError: the buffer ends before.
    """
    if len(text) < size + PADDING:
        raise ValueError(f"{size} bytes of text need a buffer of {size + PADDING}, got {len(text)}")
    text[size : size + PADDING] = 0


def read_left(text: NDArray[np.uint8], left: NDArray[np.int64], numbers: NDArray[np.float32]) -> None:
    """Write the numbers that the loops leave to Python, (n, 3) place in `numbers`, offset and length in the text."""
    for place, start, length in left.tolist():
        numbers[place] = np.float32(float(text[start : start + length].tobytes()))


@dataclass(frozen=True, slots=True)
class Line:
    """Where in a text a walk has stopped."""

    number: int
    """From 1."""
    first: int
    """Offset of its first byte."""
    size: int
    """Bytes, without its line end."""
    is_last: bool
    """Whether the text ends with it, without a line end."""


def line_at(text: NDArray[np.uint8], at: int) -> Line:
    """The line around an offset, found without a copy of the text or of a line that goes on for gigabytes."""
    number, first = 1, 0
    for start in range(0, at, PIECE):
        piece = text[start : min(at, start + PIECE)].tobytes()
        number += piece.count(b"\n")
        if (last := piece.rfind(b"\n")) >= 0:
            first = start + last + 1
    for start in range(at, len(text), PIECE):
        if (found := text[start : start + PIECE].tobytes().find(b"\n")) >= 0:
            return Line(number, first, start + found - first, is_last=False)
    return Line(number, first, len(text) - first, is_last=True)


def foreign(text: bytes) -> str:
    """What a text is that is no plain text, and what to do; empty when nothing says so."""
    for start, what in _FOREIGN.items():
        if text.startswith(start):
            return f"this is {what}, expected plain ASCII text; convert or unpack it"
    return ""


def quote(field: bytes) -> str:
    """A field for a message: printable, and not long."""
    shown = field[:41].decode("ascii", "backslashreplace")
    return repr(shown if len(field) <= 40 and len(shown) <= 40 else shown[:40] + "...")
