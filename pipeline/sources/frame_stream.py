"""Read the frames of a running recording line by line: rows of a wide .csv, or JSON arrays."""

import csv
import json
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import RawFileError
from pipeline.skeleton.layout import Layout
from pipeline.sources.folder.csv_table import column_order, split_bodies

MAX_PEOPLE = 8
"""Most people in a frame."""


def read_frames(lines: Iterable[str], layout: Layout, source: str) -> Iterator[NDArray[np.float64]]:
    """Yield one frame for each line, (M, V, C) in the units of the input, C 2 or 3; NaN where a value is missing.

    A line has the numbers of a frame, joint after joint and person after person, separated by comma, semicolon or tab.
    A first line with names such as `hip_x` gives the order of the joints. Or a line is a JSON array: (V, C), or
    (M, V, C). Blank lines are skipped.

    Args:
        lines: as they arrive; each frame is yielded before the next line is read.
        layout: the joints.
        source: the name of the input, for messages.

    Raises:
        RawFileError: a line is no frame; with its number.
    """
    order: list[int] | None = None
    axes: int | None = None
    is_first = True
    for number, line in enumerate(lines, start=1):
        text = line.lstrip("\ufeff").strip()
        if not text:
            continue
        try:
            if text.startswith("["):
                yield _json_frame(json.loads(text), layout)
            else:
                cells = next(csv.reader([text], delimiter=next((mark for mark in ";\t" if mark in text), ",")))
                if is_first and not _is_number(cells[0]):
                    order, axes = column_order([cell.strip().casefold() for cell in cells], layout)
                else:
                    row = np.array([float(cell or "nan") for cell in cells])
                    yield split_bodies(row[None] if order is None else row[None, order], layout, axes)[:, 0]
        except (ValueError, IndexError, csv.Error, RecursionError) as error:
            raise RawFileError(source, number, f"is no frame of {len(layout.joints)} joints: {error}") from error
        is_first = False


def _is_number(cell: str) -> bool:
    try:
        float(cell or "nan")
    except ValueError:
        return False
    return True


def _json_frame(plain: Any, layout: Layout) -> NDArray[np.float64]:
    frame = np.array(plain, np.float64)
    frame = frame[None] if frame.ndim == 2 else frame
    V = len(layout.joints)
    if frame.ndim != 3 or frame.shape[1] != V or frame.shape[2] not in (2, 3) or len(frame) > MAX_PEOPLE:
        raise ValueError(f"an array of {np.shape(plain)}, expected ({V}, 3) or (people, {V}, 3)")
    return frame
