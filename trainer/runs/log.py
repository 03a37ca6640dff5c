"""A run's log: one JSON object a line, appended as things happen."""

import json
import os
from pathlib import Path
from typing import Any, Self

from pipeline.files.atomic import remove_partials, write_file
from pipeline.files.disk import disk_errors

LOST = "the same command goes on from the newest checkpoint"


class RunLog:
    """Appends to `log.jsonl`; after a resume, what a lost stretch had written is gone first."""

    def __init__(self, path: Path, first_step: int) -> None:
        remove_partials(path.parent, path.name)
        kept = [line for line in read_log(path) if line["step"] < first_step]
        write_file(path, "".join(json.dumps(line) + "\n" for line in kept).encode())  # whole, whenever a kill comes
        self._path, self._handle = path, path.open("ab", buffering=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._handle.close()

    def write(self, **event: Any) -> None:
        """Append one event; every event has a `step`.

        Raises:
            OutputFailed: the disk refuses.
        """
        line = memoryview((json.dumps(event) + "\n").encode())
        with disk_errors(self._path, len(line), LOST):
            while line:
                line = line[self._handle.write(line) :]

    def sync(self) -> None:
        """Bring what has been written to the disk.

        Raises:
            OutputFailed: the disk refuses.
        """
        with disk_errors(self._path, outcome=LOST):
            os.fsync(self._handle.fileno())


def read_log(path: Path) -> list[dict[str, Any]]:
    """All complete lines of a log."""
    if not path.exists():
        return []
    found = []
    for line in path.read_bytes().splitlines():
        try:
            event = json.loads(line.decode())
        except (ValueError, RecursionError):
            event = None
        if not isinstance(event, dict) or type(event.get("step")) is not int:
            break  # a line that a killed process left half-written, or that was damaged: nothing after it counts
        found.append(event)
    return found
