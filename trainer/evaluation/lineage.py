"""Lineage of an evaluation, and file names of its results."""

import importlib.metadata
from typing import Any

import numpy as np
import torch

from pipeline.store.splits import Split
from pipeline.store.store import Store
from trainer.data.holdout import split_holdout
from trainer.evaluation.labels import LabelledClips
from trainer.runs.run import CheckpointName, Run, find_run_split
from trainer.runtime.device import describe_device


def lineage(
    run: Run, store: Store, split: Split, labelled: LabelledClips, checkpoint: dict[str, Any], device: torch.device
) -> dict[str, Any]:
    """The evaluated run, checkpoint (as returned by `load_encoder`), store and split, with versions and device.

    The split has its numbers of labelled clips.
    """
    return {
        "run": {"path": run.path.as_posix(), "digest": run.digest, "preset": run.preset, "seed": run.config.seed},
        "checkpoint": checkpoint,
        "store": {"name": store.name, "digest": store.digest, "recipe": store.attributes["recipe"]["name"]},
        "split": {
            "name": split.name,
            "digest": split.digest,
            "train": len(labelled.train),
            "test": len(labelled.test),
        },
        "test_clips_pretrained_on": _pretrained_on(run, store, split),
        "transfer": None if run.imported else store.digest != run.lineage["store"]["digest"],
        "versions": {"skelepipe": importlib.metadata.version("skelepipe"), "torch": torch.__version__},
        "device": describe_device(device),
    }


def result_name(run: Run, store: Store, split: Split, protocol: str, which: CheckpointName) -> str:
    """The file name of a result: the protocol; for another store or split than the run's, these names, too."""
    own = store.digest == run.lineage["store"]["digest"]
    store_name = store.name if own else f"{store.name}-{store.digest[:8]}"  # stores in two folders may share a name
    is_own_split = own and split.name == run.lineage["split"]["name"]
    name = protocol if is_own_split else f"{protocol}-{store_name}-{split.name}"
    return name if which == "last" else f"{name}-{which}"


def _pretrained_on(run: Run, store: Store, split: Split) -> int | None:
    """Count the test clips that the encoder was pre-trained on (without labels): 0 on the run's own split.

    None for imported weights, whose training clips are unknown.
    """
    if run.imported:
        return None
    if store.digest != run.lineage["store"]["digest"] or split.digest == run.lineage["split"]["digest"]:
        return 0
    trained_on = split_holdout(store, find_run_split(run, store, None), run.config).train_rows
    return len(np.intersect1d(trained_on, split.test))
