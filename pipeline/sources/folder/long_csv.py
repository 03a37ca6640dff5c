"""Read .csv clip files in long form: a row per frame, person and joint, as data frames are usually written."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import RawFileError
from pipeline.skeleton.layout import Layout
from pipeline.suggest import did_you_mean

FRAME_COLUMNS = ("frame", "frame_id", "frame_index", "frame_number")
PERSON_COLUMNS = ("person", "body", "person_id", "body_id", "track", "track_id")
JOINT_COLUMNS = ("joint", "joint_name", "joint_id", "keypoint", "landmark", "marker", "bodypart")
AXES = ("x", "y", "z")


class RepeatedJoint(RawFileError):
    """A joint of a person has two rows for one frame."""


def is_long(names: Sequence[str]) -> bool:
    """Whether the column names, in lower case, are those of a long table."""
    return {"x", "y"} <= {*names} and all(
        any(name in names for name in known) for known in (FRAME_COLUMNS, JOINT_COLUMNS)
    )


def read_long(text: TextIO, source: str, layout: Layout, max_frames: int) -> tuple[NDArray[np.float64], int]:
    """Read a long table.

    Args:
        text: the file, from its first line on; other columns than frame, person, joint, x, y and z are ignored.
        source: the name of the file, for messages.
        layout: the joints; cells of the joint column are their names, in any case, or their numbers from 0.
        max_frames: most frames times people.

    Returns:
        Bodies (M, T, V, C), C 2 or 3, NaN where there is no row or cell, sorted by person; number of the first frame.

    Raises:
        RawFileError: a row cannot be used; with the line number.
        csv.Error: the file is not CSV.
    """
    first = text.readline()
    delimiter = next((mark for mark in ";\t" if mark in first), ",")
    reader = csv.reader(chain([first], text), delimiter=delimiter, strict=True)
    names = [cell.strip().casefold() for cell in next(reader)]
    frame_at, joint_at = (_position(names, known) for known in (FRAME_COLUMNS, JOINT_COLUMNS))
    person_at = next((names.index(name) for name in PERSON_COLUMNS if name in names), None)
    axes_at = [names.index(axis) for axis in AXES if axis in names]
    joints = {_key(joint): index for index, joint in enumerate(layout.joints)}
    frames, people, joint_rows, lines = list[int](), list[str](), list[int](), list[int]()
    values = list[list[float]]()
    for cells in reader:
        line = reader.line_num
        if not "".join(cells).strip():
            continue
        if len(cells) != len(names):
            raise RawFileError(source, line, f"{len(cells)} fields, the first line has {len(names)}")
        frames.append(_whole(cells[frame_at], source, line, names[frame_at]))
        people.append(cells[person_at].strip() if person_at is not None else "")
        joint_rows.append(_joint(cells[joint_at], joints, layout, source, line))
        values.append([_number(cells[at], source, line, names[at]) for at in axes_at])
        lines.append(line)
    if not lines:
        raise RawFileError(source, 0, "has no row of numbers")
    try:
        return _arrange(frames, people, joint_rows, np.array(values), lines, source, len(joints), max_frames)
    except RepeatedJoint as error:
        known = {*FRAME_COLUMNS, *PERSON_COLUMNS, *JOINT_COLUMNS, *AXES}
        others = [name for name in names if name and name not in known]
        hint = f"; if the file holds several recordings ({', '.join(others[:4])}), write one file for each"
        raise RawFileError(source, error.line, f"{error.reason}{hint if others else ''}") from error


def _arrange(
    frames: list[int],
    people: list[str],
    joints: list[int],
    values: NDArray[np.float64],
    lines: list[int],
    source: str,
    V: int,
    max_frames: int,
) -> tuple[NDArray[np.float64], int]:
    """Put (n, C) values into bodies (M, T, V, C)."""
    first = min(frames)
    T = max(frames) - first + 1
    ids = sorted(
        set(people), key=lambda person: (not person.isdecimal(), int(person) if person.isdecimal() else 0, person)
    )
    if max(max_frames, 10 * len(set(frames))) < T * len(ids):
        raise RawFileError(source, 1, f"its frames are numbered over a span of {T:,}, with {len(set(frames)):,} frames")
    row_of = {person: row for row, person in enumerate(ids)}
    cells = np.ravel_multi_index(
        (np.array([row_of[person] for person in people]), np.array(frames) - first, np.array(joints)), (len(ids), T, V)
    )
    order = np.argsort(cells, kind="stable")
    for row in order[1:][np.diff(cells[order]) == 0][:1]:
        raise RepeatedJoint(source, lines[row], "repeats a joint of this frame and person of an earlier line")
    bodies = np.full((len(ids) * T * V, values.shape[1]), np.nan)
    bodies[cells] = values
    return bodies.reshape(len(ids), T, V, -1), first


def _position(names: Sequence[str], known: Sequence[str]) -> int:
    return next(names.index(name) for name in known if name in names)


def _key(name: str) -> str:
    """Return a joint name without case and separators."""
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def _joint(cell: str, joints: Mapping[str, int], layout: Layout, source: str, line: int) -> int:
    text = cell.strip()
    if (index := joints.get(_key(text))) is not None:
        return index
    if text.isascii() and text.isdecimal() and int(text) < len(joints):
        return int(text)
    hint = did_you_mean(text, layout.joints)
    raise RawFileError(
        source, line, f"joint {text!r} is not in layout {layout.name}{hint}; it has {len(joints)} joints"
    )


def _whole(cell: str, source: str, line: int, column: str) -> int:
    number = _number(cell, source, line, column)
    if not math.isfinite(number) or number != int(number) or abs(number) >= 2**53:
        raise RawFileError(source, line, f"{column} {cell.strip()!r} is not a whole number")
    return int(number)


def _number(cell: str, source: str, line: int, column: str) -> float:
    text = cell.strip()
    if not text:
        return math.nan
    try:
        if text.isascii() and "_" not in text:
            return float(text)
    except ValueError:
        pass
    raise RawFileError(
        source, line, f"{column} {text!r} is not a number{'; write a decimal point' if ',' in text else ''}"
    )


def read_header(stream: "io.BufferedReader[Any]") -> list[str]:
    """Return the cells of the first line in lower case, without reading beyond it."""
    line = stream.peek(1 << 16)[: 1 << 16].partition(b"\n")[0].decode("utf-8-sig", "replace").strip("\r\n")
    delimiter = next((mark for mark in ";\t" if mark in line), ",")
    return [cell.strip().strip('"').casefold() for cell in line.split(delimiter)]
