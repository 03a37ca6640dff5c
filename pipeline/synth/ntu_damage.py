"""Kinds of damage to a `.skeleton` text that no correct reader accepts."""

from collections.abc import Callable

import numpy as np

Lines = list[bytes]


def damage(kind: str, text: bytes, rng: np.random.Generator) -> bytes:
    """Damage a good recording.

    Args:
        kind: one of `DAMAGE`.
        text: the recording, CR LF, with at least one body.
        rng: determines where.
    """
    lines = text.removesuffix(b"\r\n").split(b"\r\n")
    return DAMAGE[kind](lines, rng)


def _join(lines: Lines) -> bytes:
    return b"\r\n".join(lines) + b"\r\n"


def _random_line(lines: Lines, fields: int, rng: np.random.Generator) -> int:
    """Return the index of a random line of the second half that has `fields` fields."""
    return int(
        rng.choice([index for index in range(len(lines) // 2, len(lines)) if lines[index].count(b" ") == fields - 1])
    )


def _cut_in_row(lines: Lines, rng: np.random.Generator) -> bytes:
    index = _random_line(lines, 12, rng)
    fields = lines[index].split(b" ")
    return _join(lines[:index]) + b" ".join(fields[: rng.integers(1, 12)])


def _cut_between_rows(lines: Lines, rng: np.random.Generator) -> bytes:
    return _join(lines[: _random_line(lines, 12, rng)])


def _row_short(lines: Lines, rng: np.random.Generator) -> bytes:
    index = _random_line(lines, 12, rng)
    lines[index] = lines[index].rpartition(b" ")[0]
    return _join(lines)


def _row_long(lines: Lines, rng: np.random.Generator) -> bytes:
    lines[_random_line(lines, 12, rng)] += b" 2"
    return _join(lines)


def _letters(lines: Lines, rng: np.random.Generator) -> bytes:
    index = _random_line(lines, 12, rng)
    x, rest = lines[index].split(b" ", 1)
    lines[index] = x[:-1] + b"l " + rest
    return _join(lines)


def _comma(lines: Lines, rng: np.random.Generator) -> bytes:
    index = _random_line(lines, 12, rng)
    _, rest = lines[index].split(b" ", 1)
    lines[index] = b"0,2181153 " + rest
    return _join(lines)


def _joint_missing(lines: Lines, rng: np.random.Generator) -> bytes:
    del lines[_random_line(lines, 12, rng)]
    return _join(lines)


def _joint_count(lines: Lines, rng: np.random.Generator) -> bytes:
    head = _random_line(lines, 10, rng)
    lines[head + 1] = b"24"
    del lines[head + 26]
    return _join(lines)


def _head_short(lines: Lines, rng: np.random.Generator) -> bytes:
    index = _random_line(lines, 10, rng)
    lines[index] = lines[index].rpartition(b" ")[0]
    return _join(lines)


def _frames_too_many(lines: Lines, rng: np.random.Generator) -> bytes:
    lines[0] = b"%d" % (int(lines[0]) + rng.integers(1, 10))
    return _join(lines)


def _frames_too_few(lines: Lines, rng: np.random.Generator) -> bytes:
    lines[0] = b"%d" % (int(lines[0]) - rng.integers(1, 10))
    return _join(lines)


def _blank_line(lines: Lines, rng: np.random.Generator) -> bytes:
    lines.insert(_random_line(lines, 12, rng), b"")
    return _join(lines)


def _surplus(lines: Lines, rng: np.random.Generator) -> bytes:
    return _join(lines + lines[-int(rng.integers(1, 26)) :])


def _zero_bytes(lines: Lines, rng: np.random.Generator) -> bytes:
    text = _join(lines)
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
"""The kinds of damage, in the order in which the broken files of a set use them."""
