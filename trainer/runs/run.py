"""The run folder: create and load `run.json`, find checkpoints, store and split, and load the encoder."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import ValidationError

from pipeline.artifacts import manifest, schemas
from pipeline.artifacts.paths import CHECKPOINTS_FOLDER, RUN_FILE
from pipeline.errors import ArtifactError, ArtifactNotFound, OutputFailed, explain
from pipeline.files import atomic
from pipeline.files.locks import sole_writer
from pipeline.files.regular_files import read_bytes
from pipeline.files.text_paths import accept_text_paths
from pipeline.skeleton.layout import Layout
from pipeline.store.splits import Split, find_split
from pipeline.store.store import Store
from trainer.config.pretrain import PretrainConfig
from trainer.methods.method import Method
from trainer.methods.registry import build_method
from trainer.models.encoder import Encoder
from trainer.models.registry import build_encoder
from trainer.runs import checkpoint, fit_check
from trainer.runs.leftovers import find_leftovers
from trainer.runtime.device import choose_device

CheckpointName = Literal["last", "best"]
LOG_FILE, RESULTS_FOLDER = "log.jsonl", "eval"
WRITE_WAIT_SECONDS = 60.0
"""How long to wait until another evaluation of the same run has written its results."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """A pre-training run, as described by its `run.json`."""

    path: Path
    preset: str
    config: PretrainConfig
    layout: Layout
    lineage: Mapping[str, Any]
    """Store (name, path relative to the run's folder, digest, dataset, recipe), split (name, digest), versions.

    For imported weights only `imported` and the recipe are known; the other values are None.
    """
    total_steps: int
    digest: str
    origins: Mapping[str, str] | None = None
    """Origins of configuration values that are not defaults, by key such as `a.b`; None: not recorded."""
    extends: tuple[str, ...] = ()
    """Digests of this run before it was given more epochs; checkpoints from that time belong to it."""

    @property
    def imported(self) -> Mapping[str, Any] | None:
        """The origin of weights that were trained by other code: file, size, sha256, source, keys; else None."""
        imported: Mapping[str, Any] | None = self.lineage.get("imported")
        return imported

    def owns(self, checkpoint_meta: Mapping[str, Any]) -> bool:
        """Whether a checkpoint with this `meta.json` belongs to the run."""
        return checkpoint_meta.get("run") in (self.digest, *self.extends)

    @property
    def checkpoints(self) -> Path:
        """The folder of the run's checkpoints."""
        return self.path / CHECKPOINTS_FOLDER


def create_run(path: Path, **facts: Any) -> Run:
    """Write the `run.json` of a new run.

    Raises:
        OutputFailed: the disk reports an error.
    """
    atomic.remove_partials(path)
    atomic.write_file(path / RUN_FILE, manifest.encode_document(schemas.RUN, facts))
    return load_run(path)


@accept_text_paths
def load_run(path: Path) -> Run:
    """Read the `run.json` of a run.

    Raises:
        ArtifactNotFound: there is no such folder.
        ArtifactError: it is not a run, or its `run.json` is damaged or has another format version.
    """
    if not path.exists():
        raise ArtifactNotFound(path, "make a run with `skelepipe pretrain`")
    if not (path / RUN_FILE).exists():
        if names := find_leftovers(path):
            raise ArtifactError(
                f"{path}: has no {RUN_FILE}, only leftovers of a training that was killed, or whose {RUN_FILE} was "
                f"removed: {', '.join(names)}; restore {RUN_FILE}, or train again with --force to replace them"
            )
        hint = "; it is a store: name it with --store" if (path / manifest.MANIFEST).is_file() else ""
        raise ArtifactError(f"{path}: is not a run (it has no {RUN_FILE}){hint}")
    plain = manifest.open_document(path / RUN_FILE, schemas.RUN)
    try:
        config = PretrainConfig.model_validate(plain["config"])
    except ValidationError as error:
        problem = explain(error.errors()[:1], PretrainConfig.model_fields)
        raise ArtifactError(f"{path / RUN_FILE}: config: {problem}; {schemas.RUN.remedy}") from error
    return Run(
        path=path,
        preset=plain["preset"],
        config=config,
        layout=Layout.from_json(plain["layout"]),
        lineage=plain["lineage"],
        total_steps=plain["total_steps"],
        digest=plain["digest"],
        origins=plain.get("origins"),
        extends=tuple(plain.get("extends", ())),
    )


def is_damaged(path: Path) -> bool:
    """Whether a folder is a run whose `run.json` is damaged or missing."""
    try:
        load_run(path)
    except ArtifactError:
        if not (path / RUN_FILE).is_file():
            return bool(find_leftovers(path))
        is_ours = schemas.RUN.kind.encode() in read_bytes(path / RUN_FILE)
        return is_ours or bool(checkpoint.list_checkpoints(path / CHECKPOINTS_FOLDER))
    return False


def load_finished_run(path: Path) -> Run:
    """Load a run whose training is complete.

    Raises:
        ArtifactError: the training is not complete, or the run is damaged.
    """
    run = load_run(path)
    _, meta, _ = newest_checkpoint(run)
    step = meta["step"]
    if step < run.total_steps:
        raise ArtifactError(
            f"{path}: training stopped at step {step} of {run.total_steps}; run `skelepipe pretrain` again to resume it"
        )
    return run


def newest_checkpoint(run: Run) -> tuple[Path, dict[str, Any], list[str]]:
    """Find a run's newest intact checkpoint: its path, its meta.json, and why newer ones were skipped.

    Raises:
        ArtifactNotFound: the run has no checkpoint.
        ArtifactError: all checkpoints are damaged, or the newest intact one belongs to another run.
    """
    newest, skipped = checkpoint.newest_intact(run.checkpoints)
    meta = checkpoint.read_meta(newest)
    if not run.owns(meta):
        raise ArtifactError(f"{newest}: belongs to another run than {run.path / RUN_FILE}; remove it or restore it")
    return newest, meta, skipped


def named_checkpoint(run: Run, which: CheckpointName) -> tuple[Path, dict[str, Any], list[str]]:
    """Find a run's `last` checkpoint, as `newest_checkpoint` does, or the `best` one up to it.

    Raises:
        ArtifactError: it is damaged or belongs to another run, or the run was trained without validation.
    """
    newest, meta, skipped = newest_checkpoint(run)
    if which == "last":
        return newest, meta, skipped
    best = checkpoint.best_of(run.checkpoints, newest)
    if best is None:
        raise ArtifactError(f"{run.path}: has no best checkpoint, because it was trained with validate_every=0")
    for finding in manifest.verify_folder(best, schemas.CHECKPOINT):
        raise ArtifactError(f"{best}: {finding}; this is the best checkpoint: use the last one, or train again")
    best_meta = checkpoint.read_meta(best)
    if not run.owns(best_meta) or best_meta.get("best") != meta["best"]:
        raise ArtifactError(
            f"{best}: is not the best checkpoint that {newest} records; use the last one, or train again"
        )
    return best, best_meta, skipped


def build_run_method(run: Run, *, fast: bool = True) -> Method:
    """Build the run's method with its initial weights, before the first training step."""
    config = run.config
    method = build_method(run.layout, config.encoder, config.pair, config.method, config.seed)
    method.pair.query.fast = method.pair.key.fast = fast
    return method


def build_run_encoder(run: Run, *, fast: bool = True) -> Encoder:
    """Build the run's query encoder with its initial weights, as in `build_run_method`, without the rest."""
    encoder = build_encoder(run.layout, run.config.encoder, run.config.seed)
    encoder.fast = fast
    return encoder


def load_encoder(
    run: Run, device: torch.device | None = None, which: CheckpointName = "last", *, fast: bool = True
) -> tuple[Encoder, dict[str, Any]]:
    """Load the query encoder of a run's last or best checkpoint, in evaluation mode, and describe the checkpoint.

    The encoder is put on the GPU, if there is one, unless a device is given.

    Raises:
        ArtifactError: there is no checkpoint, or it does not fit the run's configuration.
    """
    path, meta, skipped = named_checkpoint(run, which)
    require_fit(run, path)
    encoder = build_run_encoder(run, fast=fast)
    checkpoint.load_query_encoder(path, encoder)
    description = {
        "path": f"{CHECKPOINTS_FOLDER}/{path.name}",
        "digest": manifest.open_folder(path, schemas.CHECKPOINT)["digest"],
        "which": which,
        "held_out_knn": meta["best"]["held_out_knn"] if which == "best" else None,
        "step": meta["step"],
        "total_steps": run.total_steps,
        "imported": run.imported["file"] if run.imported else None,
        "skipped": skipped,
    }
    return encoder.to(device or choose_device()).eval(), description


def require_fit(run: Run, path: Path) -> None:
    """Check that a checkpoint has the tensors of the run's configuration, and that its clips can be encoded.

    Raises:
        ArtifactError: a tensor is missing, unknown, or has another shape or type, or the memory is too small.
    """
    remedy = f"{run.path / RUN_FILE} and its checkpoint do not belong together; restore both, or train again"
    holds = run.imported["holds"] if run.imported else "pair"
    fit_check.require_pair_tensors(path / checkpoint.MODEL, run.layout, run.config, remedy, holds=holds)
    fit_check.require_memory_to_encode(run.path / RUN_FILE, run.layout, run.config)


@accept_text_paths
def find_run_store(run: Run, override: Path | None = None) -> Store:
    """Open the store that a run was trained on, or another one with the same skeleton layout and recipe.

    Raises:
        ArtifactNotFound: the store does not exist and no other was named.
        ArtifactError: the store does not match the run.
    """
    trained_on = run.lineage["store"]
    if run.imported and override is None:
        raise ArtifactError(
            f"{run.path}: has imported weights; name a store of recipe {trained_on['recipe']['name']} with --store"
        )
    path = Path(os.path.normpath(run.path / trained_on["path"])) if override is None else override
    if not path.exists() and override is None:
        raise ArtifactNotFound(path, f"{run.path} was trained on it; if it was moved, name it with --store")
    store = Store(path)
    if store.layout != run.layout:
        raise ArtifactError(
            f"{path}: has {store.layout.name} skeletons, but {run.path} was trained on {run.layout.name}; "
            "name a store with that layout"
        )
    if store.attributes["recipe"] != trained_on["recipe"]:
        raise ArtifactError(
            f"{path}: was made by recipe {store.attributes['recipe']['name']}, but {run.path} was trained on "
            f"{trained_on['recipe']['name']} as recorded in the run; ingest again with that recipe"
        )
    if override is None and store.digest != trained_on["digest"]:
        raise ArtifactError(
            f"{path}: is another store ({store.digest[:12]}) than the one {run.path} was trained on "
            f"({trained_on['digest'][:12]}); train again, or name it with --store to evaluate on it anyway"
        )
    return store


def find_run_split(run: Run, store: Store, name: str | None = None) -> Split:
    """Load the split to evaluate on: the named one of `store`, or the run's own.

    Raises:
        ArtifactError: it is missing, damaged, or has the name of the run's split but other content.
    """
    split = find_split(store, name or run.lineage["split"]["name"])
    own = run.lineage["split"]
    if store.digest == run.lineage["store"]["digest"] and split.name == own["name"] and split.digest != own["digest"]:
        raise ArtifactError(
            f"{split.path}: differs from the split that {run.path} was trained on; train again or restore it"
        )
    return split


@contextmanager
def sole_evaluation(run: Run) -> Iterator[None]:
    """Lock the results folder of a run for writing, and remove partial files of killed processes.

    Raises:
        OutputLocked: another evaluation has held the lock for a minute.
        OutputFailed: the disk reports an error, or the run was removed, moved or replaced since it was loaded.
    """
    folder = run.path / RESULTS_FOLDER
    try:
        is_there = load_run(run.path).digest == run.digest
    except ArtifactError:
        is_there = False
    if not is_there:
        raise OutputFailed(
            f"{run.path}: was removed, moved or replaced during the evaluation, so its results were not saved; "
            "put the run back and evaluate again"
        )
    if folder.is_symlink():
        raise OutputFailed(f"{folder}: is a link, and results are only written into the run itself; replace the link")
    with sole_writer(folder / "results", WRITE_WAIT_SECONDS):
        atomic.remove_partials(folder)
        yield
