"""Recognise a folder that holds only leftovers of a training: what a run contains, but no run.json."""

from fnmatch import fnmatch
from pathlib import Path

FILES = ("log.jsonl", ".*.partial")
FOLDERS = {"checkpoints": ("step-*", ".step-*"), "eval": ("*.json", "*.classifier", ".*")}
"""Names in a run folder besides run.json, and the patterns of the names in its folders."""


def find_leftovers(folder: Path) -> list[str]:
    """Return the names in a folder without run.json if a training or an evaluation made all of them, else nothing.

    Only such a folder may be replaced with `--force`.
    """
    entries = list(folder.iterdir()) if folder.is_dir() else []
    return sorted(entry.name for entry in entries) if all(map(_is_of_a_run, entries)) else []


def _is_of_a_run(entry: Path) -> bool:
    if entry.is_symlink():
        return False
    if not entry.is_dir():
        return _matches(entry, FILES)
    patterns = FOLDERS.get(entry.name, ())
    return bool(patterns) and all(_matches(part, patterns) for part in entry.iterdir())


def _matches(path: Path, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(path.name, pattern) for pattern in patterns)
