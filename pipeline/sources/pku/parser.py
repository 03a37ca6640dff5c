"""PKU-MMD skeleton text to a `Recording`: its rows as they stand, or a refusal that says where and why."""

import re

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import RawFileError
from pipeline.skeleton.layout import KINECT_V2, Layout
from pipeline.skeleton.recording import Recording
from pipeline.sources import text_kernels
from pipeline.sources.text_buffer import LONGEST_LINE, PIECE, foreign, line_at, quote, read_left, terminate

BODIES = 2
"""Places for people in every row; the second mostly holds zeros."""
_WHOLE = re.compile(rb"(\n|\.\d{6})[ \t\r]*\Z")
"""How a file ends that has lost no part: with a line end or, as PKU-MMD writes numbers, six digits behind the point."""


def parse(text: NDArray[np.uint8], size: int, *, source: str, name: str, layout: Layout = KINECT_V2) -> Recording:
    """Parse a skeleton file that is in memory; nothing of the result lies in the buffer.

    A row is a frame: x y z in metres of every joint of the first body, then of the second. Coordinates are
    `numpy.float32(float(token))`, bit for bit. A body all zeros (or NaN) in a frame is absent from it.

    Args:
        text: bytes of the file and `raw_text.PADDING` more, which are overwritten.
        size: bytes of the file.
        source: the file as the user knows it, for messages.
        name: the video's name.
        layout: the joints that each body must have.

    Raises:
        RawFileError: the file breaks the grammar, or may have lost its end.
    """
    terminate(text, size)
    fields = BODIES * len(layout.joints) * 3
    # No row is shorter than its digits and separators, which bounds the memory by the file's size.
    rows = min(int(np.count_nonzero(text[:size] == text_kernels.LF)), (size + 1) // (2 * fields)) + 1
    numbers = np.empty(rows * fields, np.float32)
    left = np.empty((rows * fields, 3), np.int64)
    with np.errstate(all="ignore"):  # masks wrap; 1e39 is infinite in float32
        code, at, rows, n_left = text_kernels.walk_rows(text, size, fields, numbers, left)
        if code != text_kernels.ACCEPTED or rows == 0:
            raise RawFileError(source, *_refusal(text[:size], at, fields))
        read_left(text, left[:n_left], numbers)
    if not _WHOLE.search(text[max(0, size - 256) : size].tobytes()):
        raise RawFileError(source, rows, "file ends within the row's last number: truncated? download it again")
    bodies = numbers[: rows * fields].reshape(rows, BODIES, len(layout.joints), 3)
    return Recording.from_bodies(name, layout, bodies.swapaxes(0, 1))


def _refusal(text: NDArray[np.uint8], at: int, expected: int) -> tuple[int, str]:
    """The number of the line in which the walk stopped, and the reason in words."""
    if all(not text[start : start + PIECE].tobytes().strip() for start in range(0, len(text), PIECE)):
        return 0, f"the file {'has blank lines only' if len(text) else 'is empty'}; download it again"
    if what := foreign(text[:PIECE].tobytes()):
        return 1, what
    line = line_at(text, at)
    meant = f"{expected} numbers: x y z of {expected // BODIES // 3} joints of {BODIES} bodies"
    if line.size > LONGEST_LINE:
        return line.number, f"a line of {line.size} bytes, expected {meant}: damaged, download it again"
    whole = text[line.first : line.first + line.size].tobytes()
    fields = re.findall(rb"[^ \t]+", whole.removesuffix(b"\r"))
    if b"\0" in whole:
        return line.number, "NUL bytes in the row: damaged, download it again"
    if not fields:
        reason = f"blank line between rows, expected {meant}"
    elif len(fields) <= 4 and b"," in whole:
        reason = f"row with commas, expected {meant}; a label file in the place of a recording?"
    elif len(fields) != expected:
        reason = f"row has {len(fields)} fields, expected {meant}"
    else:
        place = len(re.findall(rb"[^ \t]+", whole[: at - line.first]))
        reason = f"field {place + 1} is {quote(fields[place])}, expected a number"
    return line.number, f"{reason}; file ends here: truncated? download it again" if line.is_last else reason
