"""Ways to break a `.skeleton` text such that no correct reader accepts it."""

from collections.abc import Callable

import numpy as np

Lines = list[bytes]


def damage(kind: str, text: bytes, rng: np.random.Generator) -> bytes:
    """Break a good recording.

    Args:
        kind: one of `DAMAGE`.
        text: the recording, CR LF, with at least one body.
        rng: where it is hit.
    """
    lines = text.removesuffix(b"\r\n").split(b"\r\n")
    return DAMAGE[kind](lines, rng)


def _joined(lines: Lines) -> bytes:
    return b"\r\n".join(lines) + b"\r\n"


def _pick(lines: Lines, fields: int, rng: np.random.Generator) -> int:
    """Number of a random line in the last half that has so many fields."""
    return int(rng.choice([at for at in range(len(lines) // 2, len(lines)) if lines[at].count(b" ") == fields - 1]))


def _cut_in_row(lines: Lines, rng: np.random.Generator) -> bytes:
    at = _pick(lines, 12, rng)
    fields = lines[at].split(b" ")
    return _joined(lines[:at]) + b" ".join(fields[: rng.integers(1, 12)])


def _cut_between_rows(lines: Lines, rng: np.random.Generator) -> bytes:
    return _joined(lines[: _pick(lines, 12, rng)])


def _row_short(lines: Lines, rng: np.random.Generator) -> bytes:
    at = _pick(lines, 12, rng)
    lines[at] = lines[at].rpartition(b" ")[0]
    return _joined(lines)


def _row_long(lines: Lines, rng: np.random.Generator) -> bytes:
    lines[_pick(lines, 12, rng)] += b" 2"
    return _joined(lines)


def _letters(lines: Lines, rng: np.random.Generator) -> bytes:
    at = _pick(lines, 12, rng)
    x, rest = lines[at].split(b" ", 1)
    lines[at] = x[:-1] + b"l " + rest
    return _joined(lines)


def _comma(lines: Lines, rng: np.random.Generator) -> bytes:
    at = _pick(lines, 12, rng)
    _, rest = lines[at].split(b" ", 1)
    lines[at] = b"0,2181153 " + rest
    return _joined(lines)


def _joint_missing(lines: Lines, rng: np.random.Generator) -> bytes:
    del lines[_pick(lines, 12, rng)]
    return _joined(lines)


def _joint_count(lines: Lines, rng: np.random.Generator) -> bytes:
    head = _pick(lines, 10, rng)
    lines[head + 1] = b"24"
    del lines[head + 26]
    return _joined(lines)


def _head_short(lines: Lines, rng: np.random.Generator) -> bytes:
    at = _pick(lines, 10, rng)
    lines[at] = lines[at].rpartition(b" ")[0]
    return _joined(lines)


def _frames_too_many(lines: Lines, rng: np.random.Generator) -> bytes:
    lines[0] = b"%d" % (int(lines[0]) + rng.integers(1, 10))
    return _joined(lines)


def _frames_too_few(lines: Lines, rng: np.random.Generator) -> bytes:
    lines[0] = b"%d" % (int(lines[0]) - rng.integers(1, 10))
    return _joined(lines)


def _blank_line(lines: Lines, rng: np.random.Generator) -> bytes:
    lines.insert(_pick(lines, 12, rng), b"")
    return _joined(lines)


def _surplus(lines: Lines, rng: np.random.Generator) -> bytes:
    return _joined(lines + lines[-int(rng.integers(1, 26)) :])


def _zero_bytes(lines: Lines, rng: np.random.Generator) -> bytes:
    text = _joined(lines)
    at = int(rng.integers(len(text) // 4, len(text) - 1024))
    return text[:at] + bytes(512) + text[at + 512 :]


def _empty(lines: Lines, rng: np.random.Generator) -> bytes:
    return b""


def _web_page(lines: Lines, rng: np.random.Generator) -> bytes:
    return b"<!DOCTYPE html>\n<html><body><h1>403 Forbidden</h1></body></html>\n"


DAMAGE: dict[str, Callable[[Lines, np.random.Generator], bytes]] = {
    "ends in the middle of a row": _cut_in_row,
    "joint row with 11 fields": _row_short,
    "letter in a number": _letters,
    "24 joints": _joint_count,
    "frame count too high": _frames_too_many,
    "empty file": _empty,
    "zero bytes": _zero_bytes,
    "surplus rows": _surplus,
    "joint row with 13 fields": _row_long,
    "joint row missing": _joint_missing,
    "frame count too low": _frames_too_few,
    "ends between two rows": _cut_between_rows,
    "body line with 9 fields": _head_short,
    "decimal comma": _comma,
    "blank line": _blank_line,
    "web page": _web_page,
}
"""What can be wrong with a file, in the order in which a set's broken files take turns."""
