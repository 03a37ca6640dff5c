"""A run's folder: `run.json` says what it is made from, `checkpoints/` and `log.jsonl` grow, `eval/` holds results."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

from pipeline.artifacts import manifest, schemas
from pipeline.artifacts.paths import CHECKPOINTS_FOLDER, RUN_FILE
from pipeline.errors import ArtifactError, ArtifactNotFound, explain
from pipeline.files import atomic
from pipeline.files.locks import sole_writer
from pipeline.skeleton.layout import Layout
from pipeline.store.splits import Split, find_split
from pipeline.store.store import Store
from trainer.config.pretrain import PretrainConfig
from trainer.methods.method import Method
from trainer.methods.registry import build_method
from trainer.models.encoder import Encoder
from trainer.models.momentum_pair import wrap_query_encoder
from trainer.runs import checkpoint
from trainer.runtime.device import choose_device

CheckpointName = Literal["last", "best"]
LOG_FILE, RESULTS_FOLDER = "log.jsonl", "eval"
SCORES_SUFFIX = ".scores.npz"
WRITE_WAIT_SECONDS = 60.0
"""Seconds for another evaluation of the same run to finish its writing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """A pre-training as its `run.json` describes it."""

    path: Path
    preset: str
    config: PretrainConfig
    layout: Layout
    lineage: Mapping[str, Any]
    """Store (name, path from the run's folder, digest, dataset, recipe), split (name, digest), versions.

    Of imported weights no more is known than `imported` and the recipe: the others are None.
    """
    total_steps: int
    digest: str
    origins: Mapping[str, str] | None = None
    """Where values of the configuration come from that are no defaults, by `a.b`; None: the run does not say."""

    @property
    def imported(self) -> Mapping[str, Any] | None:
        """Where the weights come from if they were trained elsewhere: file, size, sha256, source, keys."""
        found: Mapping[str, Any] | None = self.lineage.get("imported")
        return found

    @property
    def checkpoints(self) -> Path:
        """Where the run's checkpoints lie."""
        return self.path / CHECKPOINTS_FOLDER


def create_run(path: Path, **facts: Any) -> Run:
    """Write a new run's description.

    Raises:
        OutputFailed: the disk refuses.
    """
    atomic.remove_partials(path)
    atomic.write_file(path / RUN_FILE, manifest.encode_document(schemas.RUN, facts))
    return load_run(path)


def load_run(path: Path) -> Run:
    """Read a run's description.

    Raises:
        ArtifactNotFound: there is no run.
        ArtifactError: its description is damaged, or of another version.
    """
    if not path.exists():
        raise ArtifactNotFound(path, "make a run with `skelepipe pretrain`")
    if not (path / RUN_FILE).is_file():
        store = "; it is a store: name it with --store" if (path / manifest.MANIFEST).is_file() else ""
        raise ArtifactError(f"{path}: is not a run (it has no {RUN_FILE}){store}")
    plain = manifest.open_document(path / RUN_FILE, schemas.RUN)
    try:
        config = PretrainConfig.model_validate(plain["config"])
    except ValidationError as error:
        raise ArtifactError(
            f"{path / RUN_FILE}: config: {explain(error.errors()[:1])}; {schemas.RUN.remedy}"
        ) from error
    return Run(
        path=path,
        preset=plain["preset"],
        config=config,
        layout=Layout.from_json(plain["layout"]),
        lineage=plain["lineage"],
        total_steps=plain["total_steps"],
        digest=plain["digest"],
        origins=plain.get("origins"),
    )


def is_damaged(path: Path) -> bool:
    """Whether a folder is a run whose description cannot be read any more."""
    try:
        load_run(path)
    except ArtifactError:
        ours = (path / RUN_FILE).is_file() and schemas.RUN.kind.encode() in (path / RUN_FILE).read_bytes()
        return ours or bool(checkpoint.listed(path / CHECKPOINTS_FOLDER))
    return False


def load_finished_run(path: Path) -> Run:
    """Read a run that has been trained to its end.

    Raises:
        ArtifactError: it has not, or is damaged.
    """
    run = load_run(path)
    _, meta, _ = newest_checkpoint(run)
    step = meta["step"]
    if step < run.total_steps:
        raise ArtifactError(f"{path}: is at step {step} of {run.total_steps}; `skelepipe pretrain` goes on with it")
    return run


def newest_checkpoint(run: Run) -> tuple[Path, dict[str, Any], list[str]]:
    """A run's newest whole checkpoint, what it says of itself, and why newer ones were passed over.

    Raises:
        ArtifactNotFound: there is none at all.
        ArtifactError: none is whole, or it is another run's.
    """
    newest, skipped = checkpoint.newest(run.checkpoints)
    meta = checkpoint.read_meta(newest)
    if meta.get("run") != run.digest:
        raise ArtifactError(
            f"{newest}: is a checkpoint of another run than {run.path / RUN_FILE}; remove it or restore it"
        )
    return newest, meta, skipped


def named_checkpoint(run: Run, which: CheckpointName) -> tuple[Path, dict[str, Any], list[str]]:
    """A run's `last` checkpoint, as `newest_checkpoint`, or the `best` up to it.

    Raises:
        ArtifactError: it is damaged or another run's, or the run was trained without monitoring.
    """
    newest, meta, skipped = newest_checkpoint(run)
    if which == "last":
        return newest, meta, skipped
    best = checkpoint.best_of(run.checkpoints, newest)
    if best is None:
        raise ArtifactError(f"{run.path}: has no best checkpoint: it was trained with validate_every=0")
    for finding in manifest.verify_folder(best, schemas.CHECKPOINT):
        raise ArtifactError(f"{best}: {finding}; it is the best one; use the last, or train again")
    about = checkpoint.read_meta(best)
    if (about["run"], about.get("best")) != (run.digest, meta["best"]):
        raise ArtifactError(f"{best}: is not what {newest} calls the best; use the last, or train again")
    return best, about, skipped


def method_of_run(run: Run, *, fast: bool = True) -> Method:
    """The run's method before its first step."""
    config = run.config
    method = build_method(run.layout, config.encoder, config.pair, config.method, config.seed)
    method.pair.query.fast = method.pair.key.fast = fast
    return method


def load_encoder(
    run: Run, device: torch.device | None = None, which: CheckpointName = "last", *, fast: bool = True
) -> tuple[Encoder, dict[str, Any]]:
    """The query encoder of a run's newest whole checkpoint, or of its best, in evaluation mode, and what that is.

    It lies on the GPU, if there is one, unless a device is named.

    Raises:
        ArtifactError: there is none, or it does not fit the run's description.
    """
    found, meta, skipped = named_checkpoint(run, which)
    pair = method_of_run(run, fast=fast).pair
    whole = run.imported is None or run.imported["holds"] == "pair"
    checkpoint.load_model(found, pair if whole else wrap_query_encoder(pair.query))
    facts = {
        "path": f"{CHECKPOINTS_FOLDER}/{found.name}",
        "digest": manifest.open_folder(found, schemas.CHECKPOINT)["digest"],
        "which": which,
        "held_out_knn": meta["best"]["held_out_knn"] if which == "best" else None,
        "step": meta["step"],
        "total_steps": run.total_steps,
        "imported": run.imported["file"] if run.imported else None,
        "skipped": skipped,
    }
    return pair.query.to(device or choose_device()).eval(), facts


def find_run_store(run: Run, override: Path | None = None) -> Store:
    """The store that a run was trained on, or another one of the same kind of skeleton and the same recipe.

    Raises:
        ArtifactNotFound: it is gone and no other was named.
        ArtifactError: it does not match the run.
    """
    trained_on = run.lineage["store"]
    if run.imported and override is None:
        raise ArtifactError(
            f"{run.path}: its weights were trained elsewhere; name a store of recipe "
            f"{trained_on['recipe']['name']} with --store"
        )
    path = Path(os.path.normpath(run.path / trained_on["path"])) if override is None else override
    if not path.exists() and override is None:
        raise ArtifactNotFound(path, f"{run.path} was trained on it; if it has moved, name it with --store")
    store = Store(path)
    if store.layout != run.layout:
        raise ArtifactError(
            f"{path}: holds {store.layout.name} skeletons, but {run.path} was trained on {run.layout.name}; "
            "name a store that fits"
        )
    if store.attributes["recipe"] != trained_on["recipe"]:
        raise ArtifactError(
            f"{path}: was made by recipe {store.attributes['recipe']['name']}, but {run.path} was trained on "
            f"{trained_on['recipe']['name']} as it was then; ingest again with that recipe"
        )
    if override is None and store.digest != trained_on["digest"]:
        raise ArtifactError(
            f"{path}: is another store ({store.digest[:12]}) than {run.path} was trained on "
            f"({trained_on['digest'][:12]}); train again, or name it with --store to evaluate on it as it is"
        )
    return store


def find_run_split(run: Run, store: Store, name: str | None = None) -> Split:
    """The split to evaluate on: the run's own, or the one that is named, of `store`.

    Raises:
        ArtifactError: it is missing, damaged, or not the one that the run was trained on.
    """
    split = find_split(store, name or run.lineage["split"]["name"])
    own = run.lineage["split"]
    if store.digest == run.lineage["store"]["digest"] and split.name == own["name"] and split.digest != own["digest"]:
        raise ArtifactError(f"{split.path}: is not the split that {run.path} was trained on; train again or restore it")
    return split


@contextmanager
def sole_evaluation(run: Run) -> Iterator[None]:
    """Be the only one who writes among a run's results, and remove what killed writers have left there.

    Raises:
        OutputLocked: another evaluation has been writing for a minute.
        OutputFailed: the disk refuses.
    """
    folder = run.path / RESULTS_FOLDER
    with sole_writer(folder / "results", WRITE_WAIT_SECONDS):
        atomic.remove_partials(folder)
        yield


def write_result(
    run: Run, name: str, result: Mapping[str, Any], scores: Mapping[str, NDArray[Any]] = MappingProxyType({})
) -> Path:
    """Keep an evaluation's result with the run, and beside it the scores behind it.

    Args:
        run: what was evaluated.
        name: of the result.
        result: as it is told.
        scores: one array (N, classes) for each row, and what N and classes are; nothing is kept when there are none.

    Raises:
        OutputLocked, OutputFailed: as `sole_evaluation`.
    """
    path = run.path / RESULTS_FOLDER / f"{name}.json"
    with sole_evaluation(run):
        if scores:
            kept, needed = path.with_name(f"{name}{SCORES_SUFFIX}"), sum(array.nbytes for array in scores.values())
            atomic.write_file(kept, lambda handle: np.savez(handle, **scores), needed=needed)  # type: ignore[arg-type]
        atomic.write_file(path, json.dumps(result, indent=1, allow_nan=False).encode() + b"\n")
    return path
