"""Kinds of damage to a PKU-MMD recording, its label file or a label row that no correct reader accepts."""

from collections.abc import Callable, Mapping

import numpy as np


def _change_row(text: bytes, rng: np.random.Generator, change: Callable[[list[bytes]], list[bytes]]) -> bytes:
    """Change the fields of a random row of the second half of the text."""
    rows = text.split(b"\n")
    index = int(rng.integers(len(rows) // 2, len(rows) - 1))
    rows[index] = b" ".join(change(rows[index].split()))
    return b"\n".join(rows)


def _cut(text: bytes, rng: np.random.Generator) -> bytes:
    last = text.rindex(b"\n", 0, len(text) - 1)
    return text[: int(rng.integers(last + 2, len(text) - 4))]


def _blank_line(text: bytes, rng: np.random.Generator) -> bytes:
    return _change_row(text, rng, lambda fields: [])


def _zero_bytes(text: bytes, rng: np.random.Generator) -> bytes:
    at = int(rng.integers(len(text) // 4, len(text) - 1024))
    return text[:at] + bytes(512) + text[at + 512 :]


TEXTS: Mapping[str, Callable[[bytes, np.random.Generator], bytes]] = {
    "ends in the middle of a row": _cut,
    "row with 149 numbers": lambda text, rng: _change_row(text, rng, lambda fields: fields[1:]),
    "letter in a number": lambda text, rng: _change_row(text, rng, lambda fields: [b"0.2181l5", *fields[1:]]),
    "empty file": lambda text, rng: b"",
    "zero bytes": _zero_bytes,
    "row with 151 numbers": lambda text, rng: _change_row(text, rng, lambda fields: [*fields, b"0.000000"]),
    "blank line": _blank_line,
    "decimal comma": lambda text, rng: _change_row(text, rng, lambda fields: [b"0,218115", *fields[1:]]),
    "web page": lambda text, rng: b"<!DOCTYPE html>\n<html><body><h1>403 Forbidden</h1></body></html>\n",
}
"""Kinds of damage to a recording."""

LABELLING: Mapping[str, bytes | None] = {"no label file": None, "label file without rows": b"\n"}
"""Kinds of damage to a label file, with its content; None for no file."""

ROWS: Mapping[str, Callable[[int, int], bytes]] = {
    "class 52": lambda frames, empty: b"52,30,80,2",
    "last frame before the first": lambda frames, empty: b"7,80,30,2",
    "frames beyond the recording": lambda frames, empty: b"7,%d,%d,2" % (frames + 40, frames + 90),
    "nobody there": lambda frames, empty: b"7,%d,%d,2" % (frames - empty + 5, frames - 5),
    "two fields": lambda frames, empty: b"7,30",
    "letters": lambda frames, empty: b"clap,30,80,2",
}
"""Kinds of damage to a label row, given the recording's number of frames and the number of empty frames at its end."""
