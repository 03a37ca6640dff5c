"""The training log `log.jsonl`: one JSON object per line."""

import json
import os
from pathlib import Path
from typing import Any, Self

from pipeline.errors import OutputFailed
from pipeline.files.atomic import remove_partials, write_file
from pipeline.files.disk import disk_errors
from pipeline.files.regular_files import open_to_append, read_bytes

RESUME_HINT = "run the same command again to resume from the newest checkpoint"


class RunLog:
    """Append to `log.jsonl`; on resume, first remove the lines of steps that will be repeated."""

    def __init__(self, path: Path, first_step: int) -> None:
        remove_partials(path.parent, path.name)
        kept = [line for line in read_log(path) if line["step"] < first_step]
        content = "".join(json.dumps(line) + "\n" for line in kept).encode()
        write_file(path, content, new_folder=False)  # atomic, in case the process is killed
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
    """Read the events of a log, up to the first incomplete or damaged line."""
    if not path.exists():
        return []
    events = []
    for line in read_bytes(path).splitlines():
        try:
            event = json.loads(line.decode())
        except (ValueError, RecursionError):
            event = None
        if not isinstance(event, dict) or type(event.get("step")) is not int:
            break  # incomplete after a kill, or damaged: ignore it and all lines after it
        events.append(event)
    return events
