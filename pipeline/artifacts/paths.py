"""Paths of stores, splits, runs and their files, by name alone: nothing is opened, no heavy imports."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pipeline.files.regular_files import read_bytes

SPLITS_FOLDER = "splits"
"""The folder next to a store that has one folder of splits per store."""
SUBSET_MARK = ".train-"
"""Part of the file name of every subset, and of no split."""
MANIFEST_FILE = "MANIFEST.json"
"""The file with the checksums of a folder."""
LATEST_FILE = "LATEST.json"
"""The file that records the newest artifact of each kind in a folder."""
MAX_ENTRIES = 1000
"""Entries of a folder that are examined."""
RUN_FILE, CHECKPOINTS_FOLDER, META_FILE = "run.json", "checkpoints", "meta.json"
"""In a run: its description, the folder of its checkpoints, and the description of each checkpoint."""
CLASSIFIERS_FOLDER = ".classifier"
"""Suffix of the folders of trained classifiers among a run's results."""
RAW_FOLDER, PROCESSED_FOLDER, RUNS_FOLDER = Path("raw"), Path("processed"), Path("runs")
"""Default folders of recordings, stores and runs."""


def splits_folder(store: Path) -> Path:
    """Return the folder of a store's splits: `splits/NAME/` next to the store."""
    return store.parent / SPLITS_FOLDER / store.stem


def built_splits(store: Path) -> list[str]:
    """Return the names of the splits that have been built for a store."""
    return sorted(path.stem for path in splits_folder(store).glob("*.json") if SUBSET_MARK not in path.name)


def find_stores(folder: Path) -> list[Path]:
    """Return the folders that look like stores, by their names."""
    return _folders(folder, "*.zarr")


def find_runs(folder: Path) -> list[Path]:
    """Return the folders that look like runs: those with a run.json."""
    return [path for path in _folders(folder, "*") if (path / "run.json").is_file()]


def read_latest(folder: Path) -> dict[str, Any]:
    """Return the name of the newest artifact of each kind, from LATEST.json; empty if it cannot be read."""
    try:
        plain = json.loads(read_bytes(folder / LATEST_FILE))
    except (OSError, ValueError, RecursionError):
        return {}
    return plain if isinstance(plain, dict) else {}


def newest_path(folder: Path, kind: str, paths: Iterable[Path]) -> Path | None:
    """Return the newest of some artifacts: the one in LATEST.json, otherwise by modification time; None if empty."""
    candidates, name = list(paths), read_latest(folder).get(kind)
    recorded = [path for path in candidates if path.name == name]
    return max(recorded or candidates, key=lambda path: path.stat().st_mtime, default=None)


def default_store(dataset: str, roots: Sequence[Path]) -> Path:
    """Return the default path of a store: named after the data set, or after the only folder or zip of own data."""
    name = dataset
    if dataset == "folder" and len(roots) == 1:
        own = roots[0].absolute()
        name = own.stem if own.suffix.lower() == ".zip" else own.name
        name = dataset if name in ("", RAW_FOLDER.name) else name
    return PROCESSED_FOLDER / f"{name}.zarr"


def default_run_folder(store: str, split: str, preset: str) -> Path:
    """Return the default folder of a run: names of store, split and preset, without the words that the preset repeats.

    A run that has the long name of earlier versions keeps it.
    """
    repeated = f"{store}-{split}"
    words = [word for word in preset.removesuffix(repeated).split("-") if word]
    long, short = RUNS_FOLDER / f"{repeated}-{preset}", RUNS_FOLDER / "-".join([repeated, *words])
    return long if (long / RUN_FILE).is_file() else short


def _folders(folder: Path, pattern: str) -> list[Path]:
    paths = (path for path, _ in zip(folder.glob(pattern), range(MAX_ENTRIES), strict=False))
    return sorted(path for path in paths if path.is_dir() and not path.name.startswith("."))
