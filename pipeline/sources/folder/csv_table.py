"""Read .csv clip files, with or without a header, and split rows of numbers into bodies."""

import csv
import io
import math
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
from pipeline.sources.folder.long_csv import is_long, read_header, read_long

NUMBERED = ("frame", "body")
"""Columns with the number of the frame and of the person."""
TIME_COLUMNS = ("", "time", "time_s", "time_ms", "timestamp", "timestamp_ms", "seconds", "t", "index")
"""Names of columns, in lower case, that are not read."""
MAX_FRAMES = 100_000
"""Frames that a file with few rows may span by its column `frame`, summed over its bodies: an hour of one body at 30
frames a second. Each frame takes memory, even without a row."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """The bodies of a .csv file."""

    bodies: NDArray[np.float64]
    """(M, T, V, C) in the file's units, C 2 or 3; NaN where a cell is empty or a body is absent from the frame."""
    first: int | None
    """Number of the first frame; None without a column `frame`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Rows:
    """The cells of a file."""

    source: str
    names: list[str]
    """Of the columns, in lower case; empty when there is no header."""
    values: NDArray[np.float64]
    """(rows, columns), NaN for an empty cell."""
    lines: Sequence[int]
    """The line number of each row, from 1."""

    def column(self, name: str) -> NDArray[np.int64]:
        """Return the integers of a column."""
        if name not in self.names:
            raise RawFileError(self.source, 1, f"has no column {name}")
        values = self.values[:, self.names.index(name)]
        for row in np.flatnonzero(~(np.abs(values) < 2**53) | (values != np.rint(values)))[:1]:
            raise RawFileError(self.source, self.lines[row], f"{name} {values[row]} is not a whole number")
        return values.astype(np.int64)


def coordinate_columns(names: Sequence[str]) -> list[int]:
    """Return the columns of a header that are coordinates.

    Not `frame`, `body` and columns of times; and if a name ends in an axis like `waist_x`, only such names.

    Args:
        names: of the columns, in lower case.
    """
    used = [column for column, name in enumerate(names) if name not in (*NUMBERED, *TIME_COLUMNS)]
    with_axis = [column for column in used if _COLUMN.fullmatch(names[column])]
    return with_axis or used


def split_bodies(table: NDArray[Any], layout: Layout, axes: int | None = None) -> NDArray[Any]:
    """Reshape rows (T, M * V * C), body after body and joint after joint, to bodies (M, T, V, C).

    Args:
        table: the rows.
        layout: determines V.
        axes: C; None means 3 if the row length is divisible by 3 * V, else 2.

    Raises:
        ValueError: the row length does not fit the layout's number of joints; the text is the reason.
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
    """Read a .csv file with a row per frame; with columns `frame` and `body` per body and frame; or in long form.

    Args:
        stream: the bytes of the file: UTF-8, fields separated by comma, semicolon or tab, with or without a header.
        source: the name of the file, for messages.
        layout: the joints of the columns; their order is that of the layout unless the header names the joints.

    Raises:
        RawFileError: the file cannot be used; with the line number.
    """
    buffered: io.BufferedReader[Any] = io.BufferedReader(stream)
    if is_long(read_header(buffered)):
        return _read_long_table(buffered, source, layout)
    rows = _read_rows(buffered, source)
    used = coordinate_columns(rows.names) if rows.names else [*range(rows.values.shape[1])]
    try:
        order, axes = column_order([rows.names[column] for column in used] if rows.names else [], layout)
        table = rows.values[:, used] if order is None else rows.values[:, used][:, order]
        if not {"frame", "body"} & set(rows.names):
            return Table(bodies=split_bodies(table, layout, axes), first=None)
        frame = rows.column("frame")
        first = int(frame.min())
        tracks = _tracks(rows, table, frame - first)
        bodies = np.concatenate([split_bodies(track, layout, axes) for track in tracks])
    except ValueError as error:
        raise RawFileError(source, 1, str(error)) from error
    return Table(bodies=bodies, first=first)


def _read_long_table(stream: "io.BufferedReader[Any]", source: str, layout: Layout) -> Table:
    """Read a file with a row per frame, person and joint."""
    try:
        with io.TextIOWrapper(stream, "utf-8-sig", newline="") as text:
            bodies, start = read_long(text, source, layout, MAX_FRAMES)
    except (UnicodeDecodeError, csv.Error) as error:
        raise RawFileError(source, 0, f"is no table of joints: {error}") from error
    return Table(bodies=bodies, first=start)


def _read_rows(stream: "io.BufferedReader[Any]", source: str) -> _Rows:
    """Parse the rows of numbers and, if the first row has other text, the names of the columns."""
    values, lines, names, width, line = array("d"), array("q"), list[str](), 0, 0
    read = set[int]()
    try:
        with io.TextIOWrapper(stream, "utf-8-sig", newline="") as text:
            first = text.readline()
            delimiter = next((mark for mark in ";\t" if mark in first), ",")
            reader = csv.reader(chain([first], text), delimiter=delimiter, strict=True)
            for cells in reader:
                line = reader.line_num
                if len(cells) < 2 and not "".join(cells).strip():
                    continue  # a blank line; a row of several empty cells is a frame in which nobody is seen
                numbers = _numbers(cells)
                if not width:
                    width = len(cells)
                    if None in numbers:
                        names = [cell.strip().casefold() for cell in cells]
                        read = {*coordinate_columns(names)} | {names.index(name) for name in NUMBERED if name in names}
                        continue
                if len(cells) != width:
                    raise RawFileError(source, line, f"{len(cells)} fields, the first line has {width}")
                if None in numbers and names:  # text in a column that is not read
                    numbers = [number if column in read else math.nan for column, number in enumerate(numbers)]
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
    """Convert the cells of a row to numbers: NaN for an empty cell, None for other text."""
    together = "".join(cells)
    if together.isascii() and "_" not in together:  # float() also accepts digits of other scripts, and 1_000
        with suppress(ValueError):
            return list(map(float, cells))
    return [float(cell or "nan") if _NUMBER.fullmatch(cell) else None for cell in map(str.strip, cells)]


_NUMBER = re.compile(
    r"(?:[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[+-]?nan|[+-]?inf(?:inity)?)?", re.IGNORECASE
)


def column_order(names: list[str], layout: Layout) -> tuple[list[int] | None, int | None]:
    """Find the column of each axis of each joint, from column names like `waist_x`, and the number of axes.

    If no column names a joint of the layout, both are None: the columns have the layout's order.

    Raises:
        ValueError: the columns name some joints of the layout, but not exactly all of them with all axes.
    """
    joints = [joint.casefold() for joint in layout.joints]
    matches = [_COLUMN.fullmatch(name) for name in names]
    named = [(match[1], match[2]) if match else ("", "") for match in matches]
    if not {joint for joint, _ in named} & set(joints):
        return None, None
    axes = "xyz" if any(axis == "z" for _, axis in named) else "xy"
    wanted = [(joint, axis) for joint in joints for axis in axes]
    bodies = [named[first : first + len(wanted)] for first in range(0, len(named), len(wanted))]
    if any(sorted(body) != sorted(wanted) for body in bodies):
        unknown = [name for name, (joint, _) in zip(names, named, strict=True) if joint not in joints]
        missing = [f"{joint}_{axis}" for joint, axis in wanted if (joint, axis) not in named]
        raise ValueError(
            f"its header names {len({joint for joint, _ in named})} joints in {len(names)} columns, but layout "
            f"{layout.name} has {len(joints)} joints; not in the layout: {_first_few(unknown)}; "
            f"not in the header: {_first_few(missing)}"
        )
    order = [index * len(wanted) + body.index(column) for index, body in enumerate(bodies) for column in wanted]
    return order, len(axes)


_COLUMN = re.compile(r"(.+?)[\s._:-]*([xyz])")


def _first_few(names: list[str]) -> str:
    return ", ".join(names[:6]) + (", ..." if len(names) > 6 else "") or "none"


def _tracks(rows: _Rows, table: NDArray[np.float64], frame: NDArray[np.int64]) -> NDArray[np.float64]:
    """Arrange rows as (bodies, T, columns), bodies sorted by id; NaN where a body has no row."""
    body = rows.column("body") if "body" in rows.names else np.zeros_like(frame)
    ids, index = np.unique(body, return_inverse=True)
    T = int(frame.max()) + 1
    if max(MAX_FRAMES, 10 * len(table)) < T * len(ids):
        bodies = f" of {len(ids)} bodies" if len(ids) > 1 else ""
        raise ValueError(f"its frames are numbered over a span of {T}{bodies}, with {len(table)} rows")
    cell = index * T + frame
    order = np.argsort(cell, kind="stable")
    for row in order[1:][np.diff(cell[order]) == 0][:1]:
        raise RawFileError(rows.source, rows.lines[row], "repeats a frame (of this body) of an earlier line")
    out = np.full((len(ids), T, table.shape[1]), np.nan)
    out[index, frame] = table
    return out
