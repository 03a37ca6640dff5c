"""What an evaluation was of: its lineage, what its results are called, and the number that the authors report."""

import importlib.metadata
from typing import Any

import numpy as np
import torch

from pipeline.store.splits import Split
from pipeline.store.store import Store
from trainer.config.presets import compose_pretrain, load_preset, preset_names
from trainer.data.holdout import split_holdout
from trainer.runs.run import CheckpointName, Run, find_run_split
from trainer.runtime.device import describe_device


def lineage(run: Run, store: Store, split: Split, checkpoint: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """What was evaluated on what, where, and by which versions; `checkpoint` as `runs.load_encoder` tells it."""
    return {
        "run": {"path": run.path.as_posix(), "digest": run.digest, "preset": run.preset, "seed": run.config.seed},
        "checkpoint": checkpoint,
        "store": {"name": store.name, "digest": store.digest, "recipe": store.attributes["recipe"]["name"]},
        "split": {"name": split.name, "digest": split.digest, "train": len(split.train), "test": len(split.test)},
        "test_clips_pretrained_on": _pretrained_on(run, store, split),
        "transfer": None if run.imported else store.digest != run.lineage["store"]["digest"],
        "versions": {"skelepipe": importlib.metadata.version("skelepipe"), "torch": torch.__version__},
        "device": describe_device(device),
    }


def name_of(run: Run, store: Store, split: Split, protocol: str, which: CheckpointName) -> str:
    """What a result is called: its protocol on the run's own split, else the store and split too."""
    own = store.digest == run.lineage["store"]["digest"]
    where = store.name if own else f"{store.name}-{store.digest[:8]}"  # stores in two places may share a name
    is_usual = own and split.name == run.lineage["split"]["name"]
    name = protocol if is_usual else f"{protocol}-{where}-{split.name}"
    return name if which == "last" else f"{name}-{which}"


def published(run: Run, store: Store, split: Split, protocol: str) -> dict[str, Any] | None:
    """What the authors report, when data set and split are theirs and the run is what its preset is to reach it by."""
    if run.preset not in preset_names():
        return None  # of another version
    named = load_preset(run.preset)
    about, meant = named.about, compose_pretrain(named)
    if (about.dataset, about.split) != (store.attributes["dataset"], split.name) or protocol not in about.published:
        return None
    if (meant.stream, meant.method) != (run.config.stream, run.config.method):
        return None
    return {"top1": about.published[protocol], "source": about.source}


def _pretrained_on(run: Run, store: Store, split: Split) -> int | None:
    """How many of the test clips the encoder saw in pre-training, without their labels: 0 on the run's own split.

    None for imported weights, which do not say what they saw.
    """
    if run.imported:
        return None
    if store.digest != run.lineage["store"]["digest"] or split.digest == run.lineage["split"]["digest"]:
        return 0
    trained_on = split_holdout(store, find_run_split(run, store, None), run.config).train_rows
    return len(np.intersect1d(trained_on, split.test))
