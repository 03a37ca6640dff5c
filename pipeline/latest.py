"""What was written last, kept beside the artifacts in LATEST.json: how a command without arguments finds its input.

A hint about this folder on this machine, never part of an artifact, and never trusted over what lies there.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pipeline.errors import ArtifactError, ArtifactNotFound
from pipeline.manifest import MANIFEST
from pipeline.places import LATEST, noted
from pipeline.publish import sole_file, write_file

Opened = TypeVar("Opened")


def record(folder: Path, kind: str, name: str) -> None:
    """Note that `name` is what was written last of its kind (`store`, `run`) in `folder`.

    Raises:
        OutputLocked: another process has been writing the note for seconds.
        OutputFailed: the disk refuses.
    """
    with sole_file(folder / LATEST, wait=10):
        write_file(folder / LATEST, json.dumps({**noted(folder), kind: name}, indent=1).encode() + b"\n")


def newest(
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
    name = noted(folder).get(kind)
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
