"""Parse PKU-MMD skeleton text files into a `Recording`; errors name the line and the reason."""

import re

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import RawFileError
from pipeline.skeleton.layout import KINECT_V2, Layout
from pipeline.skeleton.recording import Recording
from pipeline.sources import text_kernels
from pipeline.sources.coordinate_limits import MAX_METRES, explain_beyond, first_beyond
from pipeline.sources.text_buffer import (
    MAX_LINE_BYTES,
    PIECE_BYTES,
    convert_inexact,
    explain_foreign_format,
    line_at,
    quote,
    terminate,
)

BODIES = 2
"""Bodies in every row; the second is mostly zeros."""
_COMPLETE_END = re.compile(rb"(\n|\.\d{6})[ \t\r]*\Z")
"""End of a file that is not truncated: a line end, or a number with PKU-MMD's six digits after the point."""


def parse(
    text: NDArray[np.uint8],
    size: int,
    *,
    source: str,
    name: str,
    layout: Layout = KINECT_V2,
    max_metres: float = MAX_METRES,
) -> Recording:
    """Parse a skeleton file that is in memory; the result does not refer to the buffer.

    A row is a frame: x y z in metres of every joint of the first body, then of the second. Coordinates are
    `numpy.float32(float(token))`, bit for bit. A body whose values in a frame are all zero (or NaN) is absent from it.

    Args:
        text: bytes of the file and `text_buffer.PADDING` more, which are overwritten.
        size: bytes of the file.
        source: the file as the user knows it, for messages.
        name: the video's name.
        layout: the joints that each body must have.
        max_metres: largest coordinate.

    Raises:
        RawFileError: the file violates the format, may be truncated, or has a coordinate that is too large.
    """
    terminate(text, size)
    fields = BODIES * len(layout.joints) * 3
    # A row has at least one character per field and separator, so the file's size limits the memory.
    rows = min(int(np.count_nonzero(text[:size] == text_kernels.LF)), (size + 1) // (2 * fields)) + 1
    numbers = np.empty(rows * fields, np.float32)
    inexact = np.empty((rows * fields, 3), np.int64)
    with np.errstate(all="ignore"):  # masks wrap; 1e39 is infinite in float32
        code, at, rows, n_inexact = text_kernels.parse_rows(text, size, fields, numbers, inexact)
        if code != text_kernels.ACCEPTED or rows == 0:
            raise RawFileError(source, *_refusal(text[:size], at, fields))
        convert_inexact(text, inexact[:n_inexact], numbers)
    if not _COMPLETE_END.search(text[max(0, size - 256) : size].tobytes()):
        raise RawFileError(source, rows, "file ends within the row's last number: truncated? download it again")
    bodies = numbers[: rows * fields].reshape(rows, BODIES, len(layout.joints), 3)
    if beyond := first_beyond(bodies, max_metres):
        row, _, joint, axis = beyond
        raise RawFileError(source, row + 1, explain_beyond(axis, layout.joints[joint], bodies[beyond], max_metres))
    return Recording.from_bodies(name, layout, bodies.swapaxes(0, 1))


def _refusal(text: NDArray[np.uint8], at: int, expected: int) -> tuple[int, str]:
    """Return the number of the line in which the parser stopped, and the reason for the user."""
    if all(not text[start : start + PIECE_BYTES].tobytes().strip() for start in range(0, len(text), PIECE_BYTES)):
        return 0, f"the file {'has blank lines only' if len(text) else 'is empty'}; download it again"
    if reason := explain_foreign_format(text[:PIECE_BYTES].tobytes()):
        return 1, reason
    line = line_at(text, at)
    wanted = f"{expected} numbers: x y z of {expected // BODIES // 3} joints of {BODIES} bodies"
    if line.size > MAX_LINE_BYTES:
        return line.number, f"a line of {line.size} bytes, expected {wanted}: damaged, download it again"
    whole = text[line.first : line.first + line.size].tobytes()
    fields = re.findall(rb"[^ \t]+", whole.removesuffix(b"\r"))
    if b"\0" in whole:
        return line.number, "NUL bytes in the row: damaged, download it again"
    if not fields:
        reason = f"blank line between rows, expected {wanted}"
    elif len(fields) <= 4 and b"," in whole:
        reason = f"row with commas, expected {wanted}; is this a label file?"
    elif len(fields) != expected:
        reason = f"row has {len(fields)} fields, expected {wanted}"
    else:
        index = len(re.findall(rb"[^ \t]+", whole[: at - line.first]))
        reason = f"field {index + 1} is {quote(fields[index])}, expected a number"
    return line.number, f"{reason}; file ends here: truncated? download it again" if line.is_last else reason
