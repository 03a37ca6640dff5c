"""Open the store or run that a command works on: the one named, or else the newest."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.artifacts.latest import newest_first, open_newest
from pipeline.artifacts.paths import CHECKPOINTS_FOLDER, MANIFEST_FILE, PROCESSED_FOLDER, RUN_FILE, RUNS_FOLDER
from pipeline.errors import ArtifactNotFound
from pipeline.store.store import Store
from trainer.terminal.printing import print_note

if TYPE_CHECKING:  # a store must open without torch
    from trainer.runs.run import Run


def open_store(path: Path | None) -> Store:
    """Open the store at `path`, or the newest complete store in processed/; print which, and what was skipped."""
    if path is not None:
        return Store(path)
    opened, skipped = open_newest(PROCESSED_FOLDER, "store", "*.zarr", Store, "skelepipe ingest ntu60 raw/")
    print_note([*skipped, f"store {opened.path} (newest)"])
    return opened


def open_newest_run() -> "Run":
    """Open the newest finished run in runs/; print which, and what was skipped."""
    from trainer.runs.run import load_finished_run  # noqa: PLC0415

    opened, skipped = open_newest(RUNS_FOLDER, "run", "*", load_finished_run, "skelepipe pretrain")
    print_note([*skipped, f"run {opened.path} (newest)"])
    return opened


def resolve_report_target(path: Path | None) -> "Store | Run":
    """Open the store or run at `path`; without a path the newest finished run, else the newest store."""
    if path is None:
        try:
            return open_newest_run()
        except ArtifactNotFound as error:
            print_note([str(error)])
        return open_store(None)
    if (path / RUN_FILE).exists():
        from trainer.runs.run import load_run  # noqa: PLC0415

        return load_run(path)
    return open_store(path)


def newest_path() -> Path:
    """Return the path of the newest run, or else of the newest store; print it. It may be damaged.

    Raises:
        ArtifactNotFound: there is neither.
    """
    found = newest_first(RUNS_FOLDER, "run", "*") or newest_first(PROCESSED_FOLDER, "store", "*.zarr")
    if not found:
        hint = "make a store with `skelepipe ingest ntu60 raw/`, or cd to the folder that has them"
        raise ArtifactNotFound(PROCESSED_FOLDER, hint, suggestion="", message="there is no run and no store")
    print_note([f"newest: {found[0]}"])
    return found[0]


def split_run(paths: Sequence[Path]) -> tuple[Path | None, tuple[Path, ...]]:
    """Split the arguments `[RUN] FILES...`: the first is a run if it is an artifact, in runs/, or does not exist."""
    first, *rest = paths
    is_artifact = any((first / name).exists() for name in (RUN_FILE, MANIFEST_FILE, CHECKPOINTS_FOLDER))
    is_run = is_artifact or first.parent == RUNS_FOLDER or (bool(rest) and not first.exists() and str(first) != "-")
    return (first, tuple(rest)) if is_run else (None, tuple(paths))
