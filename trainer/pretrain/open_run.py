"""Which run a pre-training goes on with: the one at its output when it is the one asked for, else a new one."""

import importlib.metadata
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from pipeline.errors import ArtifactError, OutputExists
from pipeline.files import atomic
from pipeline.store.splits import Split
from pipeline.store.store import Store
from trainer.config.layers import FITTED_ORIGIN, flatten, flatten_model
from trainer.config.pretrain import PretrainConfig
from trainer.data.holdout import changed_keys, fit_to_data
from trainer.methods import skelemix
from trainer.methods.registry import METHODS
from trainer.runs.run import Run, create_run, is_damaged, load_run


def open_run(
    store: Store,
    split: Split,
    preset: str,
    config: PretrainConfig,
    output: Path,
    *,
    any_recipe: bool,
    force: bool,
    origins: Mapping[str, str] = MappingProxyType({}),
) -> Run:
    """The run at the output if it is the one asked for, else a new one; the caller holds the output's lock.

    Args:
        store: what to train on.
        split: whose training rows.
        preset: what the configuration came from, for the record.
        config: as asked for; it is fitted to the training set.
        output: the run's folder.
        any_recipe: train although the configuration names another recipe than the store's.
        force: replace a run that was made from other input, or is damaged.
        origins: where values of the configuration come from, for the record; no part of what a run is.

    Raises:
        OutputExists: the output is another run and `force` is off.
        ArtifactError: the store does not fit the configuration, or what is there is no run.
        ConfigError: nothing can be mixed, or the batch is larger than the training set.
    """
    atomic.remove_replaced(output)
    if config.recipe not in (None, store.attributes["recipe"]["name"]) and not any_recipe:
        raise ArtifactError(
            f"{store.path}: was made by recipe {store.attributes['recipe']['name']}, the configuration is for "
            f"{config.recipe}; ingest with --recipe {config.recipe}, or train on it with --any-recipe"
        )
    asked = config
    config, division = fit_to_data(store, split, asked)
    if METHODS[config.method.name].mixing:
        skelemix.check_mixing(store.layout, config.method.mix, config.batch_size)
    facts: dict[str, Any] = {
        "preset": preset,
        "config": config.model_dump(mode="json"),
        "layout": store.layout.to_json(),
        "total_steps": config.epochs * (len(division.train_rows) // config.batch_size),
        "origins": {**origins, **dict.fromkeys(changed_keys(asked, config), FITTED_ORIGIN)},
    }
    made_from = {
        "store": {
            "name": store.name,
            "digest": store.digest,
            "dataset": store.attributes["dataset"],
            "recipe": store.attributes["recipe"],
        },
        "split": {"name": split.name, "digest": split.digest},
    }
    if division.column:
        made_from["split"]["held_out"] = division.to_json()
    if _holds_something(output):
        if not (force and is_damaged(output)):
            there = load_run(output)  # what is not a run is never replaced
            difference = _difference(there, facts["config"], made_from)
            if not difference:
                return there
            if not force:
                raise OutputExists(
                    f"{output}: is a run with another {difference}; --force replaces it, another --out keeps both"
                )
        atomic.remove_folder(output)
    made_from["store"]["path"] = os.path.relpath(store.path, output)
    versions = {"skelepipe": importlib.metadata.version("skelepipe"), "torch": torch.__version__}
    return create_run(output, **facts, lineage={**made_from, "versions": versions})


def _difference(run: Run, config: dict[str, Any], made_from: dict[str, Any]) -> str:
    """In what a run differs from the one asked for, in words; nothing when it is that run. A name is no difference."""
    if run.imported:
        return f"origin: imported weights ({run.imported['file']}), with which pretrain cannot go on"
    for what in ("store", "split"):
        there, asked = run.lineage[what], made_from[what]
        if there["digest"] != asked["digest"]:
            return f"{what}: {_called(there)} there, {_called(asked)} asked"
    were, are = flatten_model(run.config), flatten(config)
    for key in sorted(were.keys() | are.keys()):
        if were.get(key) != are.get(key):
            return f"config: {key} is {were.get(key)} there, {are.get(key)} asked"
    return ""


def _holds_something(folder: Path) -> bool:
    """Whether anything is there but what a killed process left half-written."""
    return folder.exists() and any(not path.name.endswith(".partial") for path in folder.iterdir())


def _called(artifact: dict[str, Any]) -> str:
    recipe = f", recipe {artifact['recipe']['name']}" if "recipe" in artifact else ""
    return f"{artifact['name']} ({artifact['digest'][:12]}{recipe})"
