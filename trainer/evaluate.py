"""What a representation is worth: protocols on frozen features, beside what no training at all would have given."""

import importlib.metadata
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from pipeline.splits import Split
from pipeline.store import Store
from trainer import device as devices
from trainer import features, knn, linear, loader, runs
from trainer.config import compose, preset, preset_names
from trainer.encoder import Encoder
from trainer.metrics import summarise
from trainer.runs import Run
from trainer.streams import derive

Protocol = Literal["knn", "linear"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What the user asks of an evaluation."""

    run: Run
    store: Store
    split: Split
    protocols: tuple[Protocol, ...]
    device: torch.device
    k: int = 20
    temperature: float = 0.1
    seed: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """One representation of a split's clips."""

    name: str
    train: Tensor
    test: Tensor


def evaluate(request: Request, progress: Callable[[str], None] = lambda doing: None) -> dict[str, dict[str, Any]]:
    """Run protocols on a run's frozen backbone and on what it is to be held against; keep the results with the run.

    Rows: `pre-trained` with the batch-norm statistics that training left; `pre-trained, recalibrated` with statistics
    of the clean training clips; `random encoder`, the encoder as it was before its first step, recalibrated likewise;
    `raw coordinates`, flattened, same recipe and T, nearest neighbour by Euclidean distance.

    Raises:
        ArtifactError: run, store or split are damaged or do not match.
    """
    run, store, split = request.run, request.store, request.split
    progress("reading clips")
    both = np.concatenate([split.train, split.test])
    classes, positions = np.unique(store.columns["label"][both], return_inverse=True)
    train_labels, test_labels = torch.from_numpy(positions).split([len(split.train), len(split.test)])
    frames, bodies = run.config.frames, run.config.bodies
    clips = derive(loader.load(store, both, frames, bodies), run.config.stream, run.layout)
    train, test = clips.split([len(split.train), len(split.test)])
    encoder, checkpoint = runs.load_encoder(run, request.device)
    prepared = list(_representations(run, encoder, train, test, progress))
    progress("raw coordinates")
    raw = knn.nearest(train.flatten(1), train_labels, test.flatten(1), len(classes))
    raw_row = {
        "classifier": "nearest neighbour, Euclidean",
        **summarise(raw.numpy(), test_labels.numpy(), classes.tolist()),
    }
    results: dict[str, dict[str, Any]] = {}
    for protocol in request.protocols:
        rows = {}
        for representation in prepared:
            progress(f"{protocol}, {representation.name}")
            rows[representation.name] = _score(
                protocol, representation, train_labels, test_labels, classes.tolist(), request
            )
        rows["raw coordinates"] = raw_row
        results[protocol] = {
            "protocol": protocol,
            "settings": _settings(protocol, request),
            "rows": rows,
            "published": _published(run, store, split, protocol),
            "lineage": _lineage(request, checkpoint),
        }
        own = store.digest == run.lineage["store"]["digest"] and split.name == run.lineage["split"]["name"]
        name = protocol if own else f"{protocol}-{store.name}-{split.name}"
        results[protocol]["written"] = runs.write_result(run, name, results[protocol]).as_posix()
    return results


def _representations(
    run: Run, encoder: Encoder, train: Tensor, test: Tensor, progress: Callable[[str], None]
) -> Iterator[Prepared]:
    """The features of both sides, for each state of the encoder that is worth a row."""
    device = next(encoder.parameters()).device
    fresh = runs.start(run).pair.query.to(device)
    for name, model, recalibrated in (
        ("pre-trained", encoder, False),
        ("pre-trained, recalibrated", encoder, True),
        ("random encoder", fresh, True),
    ):
        progress(f"features, {name}")
        if recalibrated:
            features.recalibrate(model, train)
        yield Prepared(name=name, train=features.extract(model, train), test=features.extract(model, test))


def _score(
    protocol: Protocol, data: Prepared, train_labels: Tensor, test_labels: Tensor, classes: list[int], request: Request
) -> dict[str, Any]:
    """One row of one protocol's table."""
    if protocol == "knn":
        scores = knn.weighted(data.train, train_labels, data.test, len(classes), request.k, request.temperature)
        return summarise(scores.numpy(), test_labels.numpy(), classes)
    fitted = linear.fit(data.train, train_labels, data.test, test_labels, len(classes), request.seed)
    best = max(range(len(fitted.test_top1)), key=fitted.test_top1.__getitem__)
    return {
        **summarise(fitted.scores.numpy(), test_labels.numpy(), classes),
        "best_epoch": {"epoch": best + 1, "top1": fitted.test_top1[best], "note": "chosen on the test set"},
        "test_top1_by_epoch": fitted.test_top1,
    }


def _settings(protocol: Protocol, request: Request) -> dict[str, Any]:
    if protocol == "knn":
        return {"features": "backbone", "k": request.k, "temperature": request.temperature, "similarity": "cosine"}
    return {"features": "backbone", "seed": request.seed, **asdict(linear.LinearConfig())}


def _published(run: Run, store: Store, split: Split, protocol: Protocol) -> dict[str, Any] | None:
    """What the authors report, when data set and split are theirs and the run is what its preset is to reach it by."""
    if run.preset not in preset_names():
        return None  # of another version
    named = preset(run.preset)
    about, meant = named.about, compose(named)
    if (about.dataset, about.split) != (store.facts["dataset"], split.name) or protocol not in about.published:
        return None
    if (meant.stream, meant.method.name) != (run.config.stream, run.config.method.name):
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
    return len(np.intersect1d(runs.find_split(run, store, None).train, split.test))


def _lineage(request: Request, checkpoint: dict[str, Any]) -> dict[str, Any]:
    run, store, split = request.run, request.store, request.split
    return {
        "run": {"path": run.path.as_posix(), "digest": run.digest, "preset": run.preset, "seed": run.config.seed},
        "checkpoint": checkpoint,
        "store": {"name": store.name, "digest": store.digest, "recipe": store.facts["recipe"]["name"]},
        "split": {"name": split.name, "digest": split.digest, "train": len(split.train), "test": len(split.test)},
        "test_clips_pretrained_on": _pretrained_on(run, store, split),
        "transfer": None if run.imported else store.digest != run.lineage["store"]["digest"],
        "versions": {"skelepipe": importlib.metadata.version("skelepipe"), "torch": torch.__version__},
        "device": devices.describe(request.device),
    }
