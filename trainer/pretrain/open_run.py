"""Open the run to train: resume the run in the output folder if it matches the request, else create one."""

import importlib.metadata
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from pipeline.errors import ArtifactError, OutputExists
from pipeline.files import atomic
from pipeline.files.disk import folder_size
from pipeline.store.splits import Split
from pipeline.store.store import Store
from trainer.config.layers import FITTED_ORIGIN, SET_ORIGIN, flatten, flatten_model
from trainer.config.pretrain import PretrainConfig
from trainer.data.holdout import changed_keys, fit_to_data
from trainer.data.residency import Residency, fit_stream_buffer
from trainer.methods import skelemix
from trainer.methods.registry import METHODS
from trainer.runs.requirements import require_countable_steps, require_disk, require_memory
from trainer.runs.run import Run, create_run, is_damaged, load_run


def open_run(
    store: Store,
    split: Split,
    preset: str,
    config: PretrainConfig,
    output: Path,
    *,
    device: torch.device,
    residency: Residency = "auto",
    workers: int = 1,
    any_recipe: bool,
    force: bool,
    extend: bool = False,
    origins: Mapping[str, str] = MappingProxyType({}),
) -> Run:
    """Return the run in the output folder if it matches the request, else a new run; the caller holds the lock.

    Args:
        store: the store to train on.
        split: the split whose training rows are used.
        preset: name of the preset, to be recorded.
        config: the requested configuration; it is fitted to the training set.
        output: the run's folder.
        device: where the training runs; its memory is checked.
        residency: where the clips will be kept; it can reduce the shuffle buffer of a new run.
        workers: threads that prefetch batches.
        any_recipe: train even if the configuration names another recipe than the store's.
        force: replace a run that does not match the request or is damaged.
        extend: give the run more epochs if this is the only difference.
        origins: origins of configuration values, to be recorded; they are not compared.

    Raises:
        OutputExists: the output is a run that does not match the request, and `force` is off.
        ArtifactError: the store does not fit the configuration, or the output exists and is not a run.
        ConfigError: no region can be mixed, the batch is larger than the training set, or the training needs more steps
            than can be counted or more memory than there is.
        OutputFailed: the disk has no room for a checkpoint.
    """
    atomic.remove_replaced(output)
    if config.recipe not in (None, store.attributes["recipe"]["name"]) and not any_recipe:
        raise ArtifactError(
            f"{store.path}: was made by recipe {store.attributes['recipe']['name']}, the configuration is for "
            f"{config.recipe}; ingest with --recipe {config.recipe}, or add --any-recipe to train on it anyway"
        )
    requested = config
    config, holdout = fit_to_data(store, split, requested)
    if "stream_buffer" not in config.model_fields_set:
        if buffer := _fitted_buffer(output):
            config = config.model_copy(update={"stream_buffer": buffer})
        elif not _has_content(output):
            config = fit_stream_buffer(store, holdout.train_rows, config, device, residency, workers)
    if METHODS[config.method.name].mixing:
        skelemix.check_mixing(store.layout, config.method.mix, config.batch_size)
    steps_per_epoch = len(holdout.train_rows) // config.batch_size
    require_countable_steps(config, steps_per_epoch)
    require_memory(store.layout, config, device)
    facts: dict[str, Any] = {
        "preset": preset,
        "config": config.model_dump(mode="json"),
        "layout": store.layout.to_json(),
        "total_steps": config.epochs * steps_per_epoch,
        "origins": {**origins, **dict.fromkeys(changed_keys(requested, config), FITTED_ORIGIN)},
    }
    lineage: dict[str, Any] = {
        "store": {
            "name": store.name,
            "digest": store.digest,
            "dataset": store.attributes["dataset"],
            "recipe": store.attributes["recipe"],
        },
        "split": {"name": split.name, "digest": split.digest},
    }
    if holdout.column:
        lineage["split"]["held_out"] = holdout.to_json()
    if _has_content(output):
        if not (force and is_damaged(output)):
            existing = load_run(output)  # raises if it is not a run: anything else is never replaced
            difference = _difference(existing, facts["config"], lineage)
            if not difference:
                return existing
            if extend and not _difference(existing, {**facts["config"], "epochs": existing.config.epochs}, lineage):
                origins = {**(existing.origins or {}), "epochs": SET_ORIGIN}
                extends = [*existing.extends, existing.digest]
                return create_run(
                    output, **{**facts, "origins": origins, "extends": extends}, lineage=dict(existing.lineage)
                )
            if not force:
                raise OutputExists(
                    f"{output}: is a run with another {difference}; use --force to replace it, or another --out or "
                    f"--name to keep both. To resume it as it is: skelepipe pretrain --resume {output}"
                )
        require_disk(output, store.layout, config, freed=folder_size(output))
        atomic.remove_folder(output)
    require_disk(output, store.layout, config)
    lineage["store"]["path"] = os.path.relpath(store.path, output)
    versions = {"skelepipe": importlib.metadata.version("skelepipe"), "torch": torch.__version__}
    return create_run(output, **facts, lineage={**lineage, "versions": versions})


def _fitted_buffer(output: Path) -> int | None:
    """The shuffle buffer of the run in a folder if it was fitted to the memory; its order must stay the same."""
    try:
        existing = load_run(output)
    except ArtifactError:
        return None
    is_fitted = (existing.origins or {}).get("stream_buffer") == FITTED_ORIGIN
    return existing.config.stream_buffer if is_fitted else None


def _difference(run: Run, config: dict[str, Any], lineage: dict[str, Any]) -> str:
    """Describe how a run differs from the requested one; empty if it matches. Names are not compared."""
    if run.imported:
        return f"origin: imported weights ({run.imported['file']}), which pretrain cannot resume"
    for kind in ("store", "split"):
        existing, requested = run.lineage[kind], lineage[kind]
        if existing["digest"] != requested["digest"]:
            return f"{kind}: the run has {_artifact_label(existing)}, requested is {_artifact_label(requested)}"
    old, new = flatten_model(run.config), flatten(config)
    for key in sorted(old.keys() | new.keys()):
        if old.get(key) != new.get(key):
            return f"config: {key} is {old.get(key)} in the run, {new.get(key)} was requested"
    return ""


def _has_content(folder: Path) -> bool:
    """Whether a folder has any files except partial ones of killed processes."""
    return folder.exists() and any(not path.name.endswith(".partial") for path in folder.iterdir())


def _artifact_label(artifact: dict[str, Any]) -> str:
    recipe = f", recipe {artifact['recipe']['name']}" if "recipe" in artifact else ""
    return f"{artifact['name']} ({artifact['digest'][:12]}{recipe})"
