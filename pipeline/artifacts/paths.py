"""Where stores, splits and runs lie beside one another, by their names alone: nothing is opened, nothing is heavy."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

SPLITS_FOLDER = "splits"
"""The folder beside a store in which a folder of its name holds its splits."""
SUBSET_MARK = ".train-"
"""What the name of a subset's file holds and that of a split's never does."""
LATEST_FILE = "LATEST.json"
"""The note of what was written last."""
MAX_ENTRIES = 1000
"""Names of a folder that are looked at."""


def splits_folder(store: Path) -> Path:
    """Where the splits of a store lie: `splits/NAME/` beside it."""
    return store.parent / SPLITS_FOLDER / store.stem


def built_splits(store: Path) -> list[str]:
    """Names of the splits of a store that have been built."""
    return sorted(path.stem for path in splits_folder(store).glob("*.json") if SUBSET_MARK not in path.name)


def find_stores(folder: Path) -> list[Path]:
    """What looks like a store in a folder, by name."""
    return _folders(folder, "*.zarr")


def find_runs(folder: Path) -> list[Path]:
    """What looks like a run in a folder, by name."""
    return [path for path in _folders(folder, "*") if (path / "run.json").is_file()]


def read_latest(folder: Path) -> dict[str, Any]:
    """What was written last in a folder, by kind, as its note says."""
    try:
        plain = json.loads((folder / LATEST_FILE).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return plain if isinstance(plain, dict) else {}


def newest_path(folder: Path, kind: str, among: Iterable[Path]) -> Path | None:
    """The one of some artifacts that was written last, as the folder's note or else the clock has it."""
    found, name = list(among), read_latest(folder).get(kind)
    named = [path for path in found if path.name == name]
    return max(named or found, key=lambda path: path.stat().st_mtime, default=None)


def _folders(folder: Path, pattern: str) -> list[Path]:
    paths = (path for path, _ in zip(folder.glob(pattern), range(MAX_ENTRIES), strict=False))
    return sorted(path for path in paths if path.is_dir() and not path.name.startswith("."))


RUN_FILE, CHECKPOINTS_FOLDER, META_FILE = "run.json", "checkpoints", "meta.json"
"""Where a run's description, its checkpoints and what each says of itself lie."""
CLASSIFIERS_FOLDER = ".classifier"
"""How the folders of classifiers end, which lie among a run's results."""
RAW_FOLDER, PROCESSED_FOLDER, RUNS_FOLDER = Path("raw"), Path("processed"), Path("runs")
"""Where recordings, stores and runs lie when nobody says where."""
