"""Which run a pre-training goes on with: the one at its output when it is the one asked for, else a new one."""

import importlib.metadata
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from pipeline import publish
from pipeline.errors import ArtifactError, OutputExists
from pipeline.splits import Split
from pipeline.store import Store
from trainer import monitor, runs, skelemix
from trainer.config import PretrainConfig
from trainer.monitor import Division
from trainer.runs import Run
from trainer.settings import FITTED, flat, flat_of


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
    publish.forget_replaced(output)
    if config.recipe not in (None, store.facts["recipe"]["name"]) and not any_recipe:
        raise ArtifactError(
            f"{store.path}: was made by recipe {store.facts['recipe']['name']}, the configuration is for "
            f"{config.recipe}; ingest with --recipe {config.recipe}, or train on it with --any-recipe"
        )
    asked = config
    config, division = fitted(store, split, asked)
    if config.method.repeats:
        skelemix.check(store.layout, config.method.mix, config.batch_size)
    facts: dict[str, Any] = {
        "preset": preset,
        "config": config.model_dump(mode="json"),
        "layout": store.layout.to_json(),
        "total_steps": config.epochs * (len(division.kept) // config.batch_size),
        "origins": {**origins, **dict.fromkeys(changed(asked, config), FITTED)},
    }
    made_from = {
        "store": {
            "name": store.name,
            "digest": store.digest,
            "dataset": store.facts["dataset"],
            "recipe": store.facts["recipe"],
        },
        "split": {"name": split.name, "digest": split.digest},
    }
    if division.column:
        made_from["split"]["held_out"] = division.to_json()
    if _holds_something(output):
        if not (force and runs.is_damaged(output)):
            there = runs.load(output)  # what is not a run is never replaced
            difference = _difference(there, facts["config"], made_from)
            if not difference:
                return there
            if not force:
                raise OutputExists(
                    f"{output}: is a run with another {difference}; --force replaces it, another --out keeps both"
                )
        publish.remove_folder(output)
    made_from["store"]["path"] = os.path.relpath(store.path, output)
    versions = {"skelepipe": importlib.metadata.version("skelepipe"), "torch": torch.__version__}
    return runs.create(output, **facts, lineage={**made_from, "versions": versions})


def fitted(store: Store, split: Split, config: PretrainConfig) -> tuple[PretrainConfig, Division]:
    """A configuration as a training set will have it, and the groups that are held out.

    Raises:
        ConfigError: the batch is larger than the training set, or what is to be held out is not there.
    """
    division = monitor.divide(store, split, config)
    most = int(store.columns["bodies"][division.kept].max(initial=1))
    return config.fitted(len(division.kept), most), division


def changed(before: PretrainConfig, after: PretrainConfig) -> list[str]:
    """The values, by `a.b`, that fitting has changed."""
    were = flat_of(before)
    return [key for key, value in flat_of(after).items() if value != were[key]]


def _difference(run: Run, config: dict[str, Any], made_from: dict[str, Any]) -> str:
    """In what a run differs from the one asked for, in words; nothing when it is that run. A name is no difference."""
    if run.imported:
        return f"origin: imported weights ({run.imported['file']}), with which pretrain cannot go on"
    for what in ("store", "split"):
        there, asked = run.lineage[what], made_from[what]
        if there["digest"] != asked["digest"]:
            return f"{what}: {_called(there)} there, {_called(asked)} asked"
    were, are = flat_of(run.config), flat(config)
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
