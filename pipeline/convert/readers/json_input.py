"""Read JSON of other tools safely: limited size and depth, line numbers in errors, arrays of numbers."""

import io
import json
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.convert import tool
from pipeline.convert.tool import Unreadable
from pipeline.errors import RawFileError
from pipeline.files import raw_files
from pipeline.files.raw_files import RawFile

MAX_BYTES = 128 << 20
"""Maximum size of a document, ten minutes of MediaPipe landmarks: Python objects take up to 20 times as much."""


def read(file: RawFile) -> Any:
    """Parse a JSON file.

    Raises:
        RawFileError: it cannot be read, is nested too deeply or is not JSON; with the line.
        Unreadable: it is too large.
    """
    return loads(tool.read_content(file, MAX_BYTES), file)


def read_lines(file: RawFile) -> Iterator[tuple[int, Any]]:
    """Parse each line as a JSON document; yield the line number, from 1, and the document. Blank lines are skipped.

    Raises:
        RawFileError: as `read`.
    """
    with raw_files.open_file(file) as raw:
        stream = io.BufferedReader(raw) if isinstance(raw, io.RawIOBase) else raw
        number = 0
        while line := stream.readline(MAX_BYTES + 1):
            number += 1
            if len(line) > MAX_BYTES:
                raise RawFileError(str(file), number, f"a line of more than {MAX_BYTES >> 20} MB")
            if line.strip():
                yield number, loads(line, file, number)


def loads(content: bytes, file: RawFile, line: int = 0) -> Any:
    """Parse JSON text; `line` is its line number if the file has one document per line.

    Raises:
        RawFileError: it is not JSON, or nested too deeply.
    """
    try:
        return json.loads(content.decode("utf-8-sig"))
    except RecursionError:
        raise RawFileError(str(file), line, "nested too deeply") from None
    except json.JSONDecodeError as error:
        error_line = line or error.lineno
        reason = "is empty" if not content.strip() else f"is not valid JSON: {error.msg[:1].lower()}{error.msg[1:]}"
        raise RawFileError(str(file), error_line, reason) from error
    except ValueError as error:  # not UTF-8, or a number with thousands of digits
        raise RawFileError(str(file), line, f"is not valid JSON: {str(error)[:100]}") from error


def numbers(value: Any, name: str) -> NDArray[np.float64]:
    """Convert nested lists of numbers to an array; null and numbers too large for a float become NaN.

    Raises:
        Unreadable: they contain something else; the message starts with `name`.
    """
    try:
        array = np.asarray(value)
        if array.dtype.kind == "O":
            flat = [_number(item) for item in array.ravel()]
            return np.array(flat, np.float64).reshape(array.shape)
    except (ValueError, TypeError, RecursionError):
        array = np.empty(0, "U")
    if array.dtype.kind not in "fiu" and array.size + array.ndim:
        raise Unreadable(f"{name}: expected lists of numbers")
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


def integer(value: Any) -> int | None:
    """Return an integer in any of the forms that tools write (3, 3.0, [3], "3"); None for others, or beyond 32 bits."""
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit() and len(value) < 11:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 2**31:
        return None
    return int(value) if value == int(value) else None
