"""LATEST.json: records the newest artifact of each kind in a folder, the default input of commands.

It is a hint for this folder, never part of an artifact; the artifacts in the folder are always checked.
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
    """Record `name` as the newest artifact of its kind (`store`, `run`) in `folder`.

    Raises:
        OutputLocked: another process has held the lock for ten seconds.
        OutputFailed: the disk cannot be written.
    """
    with sole_file_writer(folder / LATEST_FILE, wait=10):
        write_file(folder / LATEST_FILE, json.dumps({**read_latest(folder), kind: name}, indent=1).encode() + b"\n")


def open_newest(
    folder: Path, kind: str, pattern: str, open_artifact: Callable[[Path], Opened], command: str
) -> tuple[Opened, list[str]]:
    """Open the newest complete artifact of a kind.

    Args:
        folder: the folder of the artifacts.
        kind: `store` or `run`.
        pattern: glob of their names; the name recorded in LATEST.json always matches.
        open_artifact: opens one; raises ArtifactError if it is not complete.
        command: the command that creates one, for the message if there is none.

    Returns:
        The result of `open_artifact`, and why newer artifacts were skipped.

    Raises:
        ArtifactNotFound: there is no complete one.
        OSError: the folder cannot be listed.
    """
    skipped: list[str] = []
    for path in newest_first(folder, kind, pattern):
        try:
            return open_artifact(path), skipped
        except ArtifactError as error:
            skipped.append(f"skipped {error}")
        except OSError as error:
            skipped.append(f"skipped {path}: cannot be read: {error.strerror or error}")
    hint = "; ".join([*skipped, f"make one with `{command}`, or cd to the folder that has them"])
    raise ArtifactNotFound(folder, hint, suggestion="", message=f"there is no complete {kind}")


def newest_first(folder: Path, kind: str, pattern: str) -> list[Path]:
    """Return the artifacts of a kind in a folder, damaged ones included, the newest first; see `open_newest`."""
    name = read_latest(folder).get(kind)
    try:
        listed = list(folder.iterdir())
    except FileNotFoundError:
        listed = []
    paths = [path for path in listed if path.name == name or path.match(pattern)]
    found = [path for path in paths if path.is_dir() and (path.name == name or not path.name.startswith("."))]
    found.sort(key=lambda path: (path.name == name, _modified_at(path)), reverse=True)
    return found


def _modified_at(path: Path) -> float:
    try:
        return (path / MANIFEST).stat().st_mtime
    except OSError:
        return path.stat().st_mtime
