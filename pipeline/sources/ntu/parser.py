"""Parse NTU RGB+D skeleton text files into a `Recording`; errors name the line and the reason."""

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

# Each kind of line: its name, the number of fields, and what the first and the last field are if not any number.
_LINES = {
    text_kernels.FRAMES_LINE: ("number of frames", 1, "a count below 1000000000", ""),
    text_kernels.BODIES_LINE: ("number of bodies", 1, "a count below 1000000000", ""),
    text_kernels.HEADER_LINE: ("body header", 10, "a body id (64-bit integer)", ""),
    text_kernels.JOINTS_LINE: ("number of joints", 1, "a count below 1000000000", ""),
    text_kernels.JOINT_LINE: ("joint row", 12, "", "a tracking state (0, 1 or 2)"),
}

MAX_FRAMES = 9_000
"""Frames that a file with few bodies may have: five minutes at 30 a second; those of NTU RGB+D have at most 300."""
MAX_EMPTY_SHARE = 8
"""Of more frames, at least one in eight must have a body: an empty frame has two bytes in the file, but in memory as
many as a body, which has more than 600 in the file."""


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

    Coordinates are `numpy.float32(float(token))`, bit for bit. Columns that are not used must be numbers, too.

    Args:
        text: bytes of the file and `text_buffer.PADDING` more, which are overwritten.
        size: bytes of the file.
        source: the file as the user knows it, for messages.
        name: the sample's name.
        layout: the joints that each body must have.
        max_metres: largest coordinate.

    Raises:
        RawFileError: the file violates the format, a coordinate is too large, or nearly all of many frames are empty.
    """
    terminate(text, size)
    joints = len(layout.joints)
    # A body has at least one character per field and separator, so the file's size limits the memory.
    shortest_body = 20 + len(f"{joints}\n") + 24 * joints
    rows = (size + 1) // shortest_body + 1
    masks = np.empty((size // text_kernels.BLOCK + 1, 2), np.uint64)
    keys = np.empty((rows, 3), np.int64)
    xyz = np.empty(rows * joints * 3, np.float32)
    tracking = np.empty((rows, joints), np.int8)
    inexact = np.empty((rows * joints * 3, 3), np.int64)
    with np.errstate(all="ignore"):  # masks wrap; 1e39 is infinite in float32
        code, line, at, frame, frames, rows, n_inexact = text_kernels.parse_ntu(
            text, size, masks, keys, xyz, tracking, inexact
        )
        if code != text_kernels.ACCEPTED:
            raise RawFileError(source, *_refusal(text[:size], code, line, at, frame, frames, joints))
        convert_inexact(text, inexact[:n_inexact], xyz)
    if frames > MAX_FRAMES and frames > MAX_EMPTY_SHARE * (occupied := len(np.unique(keys[:rows, 0]))):
        reason = f"{frames} frames, but a body in {occupied} only: cut out the part with people"
        raise RawFileError(source, 1, reason)
    bodies = xyz[: rows * joints * 3].reshape(rows, joints, 3)
    if beyond := first_beyond(bodies, max_metres):
        row, joint, axis = beyond
        # Before it: the number of frames, that of bodies of each frame, two lines and the joints of each earlier body.
        line = 1 + (int(keys[row, 0]) + 1) + row * (joints + 2) + 2 + joint + 1
        raise RawFileError(source, line, explain_beyond(axis, layout.joints[joint], bodies[beyond], max_metres))
    return Recording(
        name=name,
        layout=layout,
        frames=frames,
        frame=keys[:rows, 0].astype(np.int32),
        slot=keys[:rows, 1].astype(np.int32),
        body=keys[:rows, 2].copy(),
        xyz=bodies.copy(),
        tracking=tracking[:rows].copy(),
    )


def _refusal(
    text: NDArray[np.uint8], code: int, line: int, at: int, frame: int, frames: int, joints: int
) -> tuple[int, str]:
    """Return the number of the line in which the parser stopped, and the reason for the user."""
    if not len(text):
        return 0, "the file is empty; download it again"
    if reason := explain_foreign_format(text[:PIECE_BYTES].tobytes()):
        return 1, reason
    here = line_at(text, at)
    where = f"in frame {frame + 1} of {frames}" if line not in (text_kernels.FRAMES_LINE, text_kernels.END) else ""
    if here.size > MAX_LINE_BYTES:
        return here.number, f"a line of {here.size} bytes{where and ' ' + where}: damaged, download it again"
    whole = text[here.first : here.first + here.size].tobytes()
    fields = [field for field in re.split(rb"[ \t]+", whole.removesuffix(b"\r")) if field]
    if b"\0" in whole:
        return here.number, f"NUL bytes{where and ' ' + where}: damaged, download it again"
    if code == text_kernels.EXTRA_TEXT:
        extra = quote(re.split(rb"[ \t]", whole.removesuffix(b"\r")[at - here.first :], maxsplit=1)[0])
        return (
            here.number,
            f"expected the end after {frames} frames, found {extra}; damaged, or the number of frames is wrong",
        )
    kind, expected, first_is, last_is = _LINES[line]
    if at == len(text):
        return here.number, f"file ends {where or 'before the number of frames'}: truncated? download it again"
    if code == text_kernels.WRONG_JOINTS:
        reason = f"{fields[0].lstrip(b'0').decode() or 0} joints, expected {joints}"
    elif not fields:
        reason = f"blank line, expected a {kind}"
    elif len(fields) != expected:
        reason = f"{kind} has {len(fields)} fields, expected {expected}"
    else:
        index = len(re.findall(rb"[^ \t]+", whole[: at - here.first]))
        wanted = (index == 0 and first_is) or (index == expected - 1 and last_is) or "a number"
        reason = f"{kind}: field {index + 1} is {quote(fields[index])}, expected {wanted}"
    if here.is_last:
        return here.number, f"{reason}; file ends here{', ' + where if where else ''}: truncated? download it again"
    return here.number, reason
