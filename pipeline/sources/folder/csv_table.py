"""Rows of numbers, one a frame, to bodies; and the .csv files that hold such rows, with or without a header."""

import csv
import io
import re
from array import array
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import RawFileError
from pipeline.skeleton.layout import Layout

LONGEST = 100_000
"""Frames, of all bodies together, that a file may span by its column `frame`, however few rows it has: an hour of one
body at 30 a second. Each takes memory, be there a row for it or not."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """What a .csv file holds."""

    bodies: NDArray[np.float64]
    """(M, T, V, C) as it stands there, C 2 or 3; NaN where a cell is empty or a body not in the frame."""
    first: int | None
    """Number of the first frame; None where there is no column `frame`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Rows:
    """The cells of a file."""

    source: str
    names: list[str]
    """Of the columns, in lower case; empty when there is no header."""
    values: NDArray[np.float64]
    """(rows, columns), NaN for an empty cell."""
    lines: Sequence[int]
    """Where each row stands, from 1."""

    def column(self, name: str) -> NDArray[np.int64]:
        """The whole numbers of a column."""
        if name not in self.names:
            raise RawFileError(self.source, 1, f"has no column {name}")
        values = self.values[:, self.names.index(name)]
        for row in np.flatnonzero(~(np.abs(values) < 2**53) | (values != np.rint(values)))[:1]:
            raise RawFileError(self.source, self.lines[row], f"{name} {values[row]} is not a whole number")
        return values.astype(np.int64)


def split_bodies(table: NDArray[Any], layout: Layout, axes: int | None = None) -> NDArray[Any]:
    """Bodies (M, T, V, C) out of rows (T, M * V * C): body after body, joint after joint.

    Args:
        table: the rows.
        layout: says V.
        axes: C; when None 3 if the numbers come out even, else 2.

    Raises:
        ValueError: the layout has another number of joints; the text is the reason.
    """
    V, numbers = len(layout.joints), table.shape[1]
    fitting = [C for C in ((3, 2) if axes is None else (axes,)) if numbers and numbers % (V * C) == 0]
    if not fitting:
        raise ValueError(
            f"{numbers} numbers a frame, {numbers / 3:.4g} joints in 3-D or {numbers / 2:.4g} in 2-D, "
            f"but layout {layout.name} has {V} joints"
        )
    C = fitting[0]
    return table.reshape(len(table), numbers // (V * C), V, C).swapaxes(0, 1)


def read_csv(stream: io.RawIOBase | io.BufferedIOBase, source: str, layout: Layout) -> Table:
    """Read a .csv file: a row a frame, or with columns `frame` and `body` a row for each body in a frame.

    Args:
        stream: its bytes; UTF-8, fields divided by comma, semicolon or tab, the first row perhaps a header.
        source: its name, for messages.
        layout: whose joints it shows, in this order unless the header names them in another.

    Raises:
        RawFileError: it cannot be used; with the line.
    """
    rows = _cells(stream, source)
    columns = range(rows.values.shape[1])
    kept = [at for at in columns if not rows.names or rows.names[at] not in ("", "frame", "body")]
    try:
        order, axes = _order([rows.names[at] for at in kept] if rows.names else [], layout)
        table = rows.values[:, kept] if order is None else rows.values[:, kept][:, order]
        if not {"frame", "body"} & set(rows.names):
            return Table(bodies=split_bodies(table, layout, axes), first=None)
        frame = rows.column("frame")
        first = int(frame.min())
        tracks = _tracks(rows, table, frame - first)
        bodies = np.concatenate([split_bodies(track, layout, axes) for track in tracks])
    except ValueError as error:
        raise RawFileError(source, 1, str(error)) from error
    return Table(bodies=bodies, first=first)


def _cells(stream: io.RawIOBase | io.BufferedIOBase, source: str) -> _Rows:
    """Take a file apart into numbers and, where the first row is none, the names of the columns."""
    values, lines, names, width, line = array("d"), array("q"), list[str](), 0, 0
    try:
        with io.TextIOWrapper(io.BufferedReader(stream), "utf-8-sig", newline="") as text:
            first = text.readline()
            delimiter = next((mark for mark in ";\t" if mark in first), ",")
            reader = csv.reader(chain([first], text), delimiter=delimiter, strict=True)
            for cells in reader:
                line = reader.line_num
                if len(cells) < 2 and not "".join(cells).strip():
                    continue  # blank; a row of several empty cells is a frame in which nobody is seen
                numbers = _numbers(cells)
                if not width:
                    width = len(cells)
                    if None in numbers:
                        names = [cell.strip().casefold() for cell in cells]
                        continue
                if len(cells) != width:
                    raise RawFileError(source, line, f"{len(cells)} fields, the first line has {width}")
                if None in numbers:
                    wrong = cells[numbers.index(None)]
                    hint = "; write a decimal point" if "," in wrong else ""
                    raise RawFileError(source, line, f"{wrong!r} is not a number{hint}")
                values.extend(numbers)  # type: ignore[arg-type]
                lines.append(line)
    except (UnicodeDecodeError, csv.Error) as error:
        raise RawFileError(source, line + 1, f"is no text of numbers: {error}") from error
    if not lines:
        raise RawFileError(source, 0, "has no row of numbers")
    return _Rows(source=source, names=names, values=np.array(values).reshape(len(lines), -1), lines=lines)


def _numbers(cells: list[str]) -> list[float | None]:
    """The numbers of a row: NaN for an empty cell, None for what is no number."""
    together = "".join(cells)
    if together.isascii() and "_" not in together:  # float knows digits of all scripts, and 1_000
        with suppress(ValueError):
            return list(map(float, cells))
    return [float(cell or "nan") if _NUMBER.fullmatch(cell) else None for cell in map(str.strip, cells)]


_NUMBER = re.compile(
    r"(?:[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[+-]?nan|[+-]?inf(?:inity)?)?", re.IGNORECASE
)


def _order(names: list[str], layout: Layout) -> tuple[list[int] | None, int | None]:
    """For columns named like `waist_x` the column of every joint's every axis, body after body, and how many axes.

    Columns that name none of the layout's joints say nothing: then both are None, and they stand in its order.

    Raises:
        ValueError: they name some of the layout's joints and not just these, each with all its axes.
    """
    joints = [joint.casefold() for joint in layout.joints]
    found = [_COLUMN.fullmatch(name) for name in names]
    named = [(match[1], match[2]) if match else ("", "") for match in found]
    if not {joint for joint, _ in named} & set(joints):
        return None, None
    axes = "xyz" if any(axis == "z" for _, axis in named) else "xy"
    wanted = [(joint, axis) for joint in joints for axis in axes]
    bodies = [named[at : at + len(wanted)] for at in range(0, len(named), len(wanted))]
    if any(sorted(body) != sorted(wanted) for body in bodies):
        strange = [name for name, (joint, _) in zip(names, named, strict=True) if joint not in joints]
        absent = [f"{joint}_{axis}" for joint, axis in wanted if (joint, axis) not in named]
        raise ValueError(
            f"its header names {len({joint for joint, _ in named})} joints in {len(names)} columns, but layout "
            f"{layout.name} has {len(joints)} joints; not in the layout: {_few(strange)}; "
            f"not in the header: {_few(absent)}"
        )
    return [at * len(wanted) + body.index(column) for at, body in enumerate(bodies) for column in wanted], len(axes)


_COLUMN = re.compile(r"(.+?)[\s._:-]*([xyz])")


def _few(names: list[str]) -> str:
    return ", ".join(names[:6]) + (", ..." if len(names) > 6 else "") or "none"


def _tracks(rows: _Rows, table: NDArray[np.float64], frame: NDArray[np.int64]) -> NDArray[np.float64]:
    """Rows at their frames, a body after another by id: (bodies, T, columns), NaN where a body has no row."""
    body = rows.column("body") if "body" in rows.names else np.zeros_like(frame)
    ids, who = np.unique(body, return_inverse=True)
    T = int(frame.max()) + 1
    if max(LONGEST, 10 * len(table)) < T * len(ids):
        bodies = f" of {len(ids)} bodies" if len(ids) > 1 else ""
        raise ValueError(f"its frames are numbered over a span of {T}{bodies}, with {len(table)} rows")
    cell = who * T + frame
    order = np.argsort(cell, kind="stable")
    for row in order[1:][np.diff(cell[order]) == 0][:1]:
        raise RawFileError(rows.source, rows.lines[row], "this frame (of this body) stands in an earlier line as well")
    out = np.full((len(ids), T, table.shape[1]), np.nan)
    out[who, frame] = table
    return out
