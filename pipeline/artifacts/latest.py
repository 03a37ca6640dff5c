"""What was written last, kept beside the artifacts in LATEST.json: how a command without arguments finds its input.

A hint about this folder on this machine, never part of an artifact, and never trusted over what lies there.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pipeline.artifacts.manifest import MANIFEST
from pipeline.artifacts.paths import LATEST_FILE, read_latest
from pipeline.errors import ArtifactError, ArtifactNotFound
from pipeline.files.atomic import sole_file_writer, write_file

Opened = TypeVar("Opened")


def record_latest(folder: Path, kind: str, name: str) -> None:
    """Note that `name` is what was written last of its kind (`store`, `run`) in `folder`.

    Raises:
        OutputLocked: another process has been writing the note for seconds.
        OutputFailed: the disk refuses.
    """
    with sole_file_writer(folder / LATEST_FILE, wait=10):
        write_file(folder / LATEST_FILE, json.dumps({**read_latest(folder), kind: name}, indent=1).encode() + b"\n")


def open_newest(
    folder: Path, kind: str, pattern: str, attempt: Callable[[Path], Opened], make: str
) -> tuple[Opened, list[str]]:
    """Open the newest complete artifact of a kind.

    Args:
        folder: where they lie.
        kind: `store` or `run`.
        pattern: which names are of that kind; the one noted in LATEST.json is, whatever its name.
        attempt: opens one, raising ArtifactError when it is not complete.
        make: the command that makes one, for the message when there is none.

    Returns:
        What `attempt` gave, and why newer ones were skipped.

    Raises:
        ArtifactNotFound: there is no complete one.
    """
    name = read_latest(folder).get(kind)
    paths = [path for path in folder.glob("*") if path.name == name or path.match(pattern)]
    found = [path for path in paths if path.is_dir() and (path.name == name or not path.name.startswith("."))]
    found.sort(key=lambda path: (path.name == name, _age(path)), reverse=True)
    skipped: list[str] = []
    for path in found:
        try:
            return attempt(path), skipped
        except ArtifactError as error:
            skipped.append(f"skipped {error}")
    hint = "; ".join([*skipped, f"make one with `{make}`, or cd to where they are"])
    raise ArtifactNotFound(folder, hint, near="", said=f"there is no complete {kind}")


def _age(path: Path) -> float:
    sealed = path / MANIFEST
    return (sealed if sealed.exists() else path).stat().st_mtime
