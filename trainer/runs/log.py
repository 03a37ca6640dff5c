"""The training log `log.jsonl`: one JSON object per line."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from pipeline.errors import OutputFailed
from pipeline.files.atomic import remove_partials, write_file
from pipeline.files.disk import disk_errors
from pipeline.files.regular_files import open_to_append, read_bytes

MAX_LISTED = 5
"""Damaged lines that are listed in a message."""
MEASURED = ("samples_per_second", "seconds", "device", "commit")
"""Keys of an event that depend on the machine: the same training has other values on another one."""
RESUME_HINT = "run the same command again to resume from the newest checkpoint"


class RunLog:
    """Append to `log.jsonl`; on resume, first remove the lines of steps that will be repeated.

    Damaged lines before those are kept, and so are the events after a damaged line.
    """

    def __init__(self, path: Path, first_step: int) -> None:
        remove_partials(path.parent, path.name)
        kept = b"".join(line + b"\n" for line in _kept_lines(_read_lines(path), first_step))
        write_file(path, kept, new_folder=False)  # atomic, in case the process is killed
        self._path, self._handle = path, open_to_append(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._handle.close()

    def write(self, **event: Any) -> None:
        """Append one event, which must have a `step`.

        Raises:
            OutputFailed: the disk reports an error.
        """
        line = memoryview((json.dumps(event) + "\n").encode())
        with disk_errors(self._path, len(line), RESUME_HINT):
            while line:
                line = line[self._handle.write(line) :]

    def sync(self) -> None:
        """Flush written lines to the disk (fsync).

        Raises:
            OutputFailed: the disk reports an error, or the file was removed or replaced.
        """
        with disk_errors(self._path, outcome=RESUME_HINT):
            os.fsync(self._handle.fileno())
            if not self._path.exists() or not os.path.samestat(self._path.stat(), os.fstat(self._handle.fileno())):
                raise OutputFailed(f"{self._path}: was removed or replaced during the training; {RESUME_HINT}")


def read_log(path: Path) -> list[dict[str, Any]]:
    """Read the events of a log; lines that are damaged are left out."""
    return [event for line in _read_lines(path) if (event := _parse(line)) is not None]


def seconds_of_training(path: Path) -> float:
    """Return how long the logged steps took, over all resumes; 0 if the log does not tell."""
    times = [event.get("seconds") for event in read_log(path)]
    return next((float(time) for time in reversed(times) if type(time) in (int, float) and 0 <= time < 1e12), 0.0)


def logged_texts(path: Path, key: str) -> list[str]:
    """Return the different texts that a log has for `device` or `commit`, which each resume writes, oldest first."""
    texts = [event.get(key) for event in read_log(path)]
    return list(dict.fromkeys(text for text in texts if isinstance(text, str)))


def damaged_lines(path: Path) -> list[int]:
    """Return the numbers, from 1, of the lines of a log that are not events.

    An incomplete last line, which a killed process leaves, is not one of them.
    """
    return [number for number, line in enumerate(_read_lines(path), 1) if _parse(line) is None]


def describe_damaged_lines(path: Path) -> str:
    """Describe the damaged lines of a log for the user; empty if there are none."""
    numbers = damaged_lines(path)
    if not numbers:
        return ""
    listed = ", ".join(map(str, numbers[:MAX_LISTED])) + (", ..." if len(numbers) > MAX_LISTED else "")
    what = f"line {listed} is" if len(numbers) == 1 else f"lines {listed} are"
    return f"{path}: {what} damaged and ignored; all other lines are used"


def _read_lines(path: Path) -> list[bytes]:
    """Return the lines of a log without their ends; an incomplete last line only if it is a whole event."""
    if not path.exists():
        return []
    *lines, last = read_bytes(path, max_bytes=None).split(b"\n")
    return lines if _parse(last) is None else [*lines, last]


def _kept_lines(lines: list[bytes], first_step: int) -> Iterator[bytes]:
    """Yield the lines of steps before `first_step`, and the damaged lines before the first later step."""
    is_later = False
    for line in lines:
        event = _parse(line)
        is_later |= event is not None and event["step"] >= first_step
        if event["step"] < first_step if event is not None else not is_later:
            yield line


def _parse(line: bytes) -> dict[str, Any] | None:
    """Return the event of a line; None if it is damaged."""
    try:
        event = json.loads(line.decode())
    except (ValueError, RecursionError):
        return None
    is_event = isinstance(event, dict) and type(event.get("step")) is int and 0 <= event["step"] < 2**63
    return event if is_event else None
