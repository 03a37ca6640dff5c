"""JSON of other tools to plain data and numbers, without what trips those who look at it next."""

import io
import json
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.convert import take
from pipeline.convert.take import Unreadable
from pipeline.errors import RawFileError
from pipeline.files import raw_files
from pipeline.files.raw_files import RawFile

MOST_BYTES = 128 << 20
"""Of one document: as Python's objects it takes up to twenty times as much. Ten minutes of MediaPipe's landmarks."""


def read(file: RawFile) -> Any:
    """What a JSON file holds.

    Raises:
        RawFileError: it cannot be read, is nested too deeply or no JSON; with the line.
        Unreadable: it is too large.
    """
    return loads(take.content(file, MOST_BYTES), file)


def read_lines(file: RawFile) -> Iterator[tuple[int, Any]]:
    """What the lines of a file hold, each a JSON document, with their numbers from 1; blank ones are passed over.

    Raises:
        RawFileError: as `read`.
    """
    with raw_files.open_file(file) as raw:
        stream = io.BufferedReader(raw) if isinstance(raw, io.RawIOBase) else raw
        number = 0
        while line := stream.readline(MOST_BYTES + 1):
            number += 1
            if len(line) > MOST_BYTES:
                raise RawFileError(str(file), number, f"a line of more than {MOST_BYTES >> 20} MB")
            if line.strip():
                yield number, loads(line, file, number)


def loads(content: bytes, file: RawFile, line: int = 0) -> Any:
    """What JSON text holds; `line` is where it stands when it is one line of several.

    Raises:
        RawFileError: it is no JSON, or nested too deeply.
    """
    try:
        return json.loads(content.decode("utf-8-sig"))
    except RecursionError:
        raise RawFileError(str(file), line, "nested too deeply") from None
    except json.JSONDecodeError as error:
        at = line or error.lineno
        empty = "is empty" if not content.strip() else f"is no JSON: {error.msg[:1].lower()}{error.msg[1:]}"
        raise RawFileError(str(file), at, empty) from error
    except ValueError as error:  # no UTF-8, or a number of thousands of digits
        raise RawFileError(str(file), line, f"is no JSON: {str(error)[:100]}") from error


def numbers(value: Any, what: str) -> NDArray[np.float64]:
    """Nested lists of numbers as an array; null is NaN, and so is what no float can hold.

    Raises:
        Unreadable: they are no such thing; the text says what of.
    """
    try:
        array = np.asarray(value)
        if array.dtype.kind == "O":
            flat = [_number(item) for item in array.ravel()]
            return np.array(flat, np.float64).reshape(array.shape)
    except (ValueError, TypeError, RecursionError):
        array = np.empty(0, "U")
    if array.dtype.kind not in "fiu" and array.size + array.ndim:
        raise Unreadable(f"{what}: expected lists of numbers")
    return array.astype(np.float64)


def _number(item: Any) -> float:
    if item is None:
        return math.nan
    if isinstance(item, bool) or not isinstance(item, int | float):
        raise TypeError
    try:
        return float(item)
    except OverflowError:
        return math.nan


def whole(value: Any) -> int | None:
    """A whole number as a tool may write it (3, 3.0, [3], "3"), or None for what is none, or does not fit 32 bits."""
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit() and len(value) < 11:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 2**31:
        return None
    return int(value) if value == int(value) else None
