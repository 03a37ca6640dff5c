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
from trainer import classifier, features, knn, linear, loader, monitor, runs
from trainer import device as devices
from trainer.config import compose, preset, preset_names
from trainer.encoder import Encoder
from trainer.metrics import summarise
from trainer.runs import Run, Which
from trainer.streams import derive

Protocol = Literal["knn", "linear"]
BATCH_NORM = {"pre-trained": "as training left them", "pre-trained, recalibrated": "of the training clips"}
"""Rows whose classifiers are kept, and where their batch-norm statistics come from."""


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
    checkpoint: Which = "last"


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """One representation of a split's clips."""

    name: str
    train: Tensor
    test: Tensor
    state: dict[str, Tensor]
    """Of the encoder that gave them."""


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
    encoder, checkpoint = runs.load_encoder(run, request.device, request.checkpoint)
    prepared = list(_representations(run, encoder, train, test, progress))
    progress("raw coordinates")
    raw = knn.nearest(train.flatten(1), train_labels, test.flatten(1), len(classes))
    raw_row = {
        "classifier": "nearest neighbour, Euclidean",
        **summarise(raw.numpy(), test_labels.numpy(), classes.tolist()),
    }
    own = store.digest == run.lineage["store"]["digest"] and split.name == run.lineage["split"]["name"]
    results: dict[str, dict[str, Any]] = {}
    for protocol in request.protocols:
        name = protocol if own else f"{protocol}-{store.name}-{split.name}"
        name += "" if request.checkpoint == "last" else f"-{request.checkpoint}"
        rows = {}
        for representation in prepared:
            progress(f"{protocol}, {representation.name}")
            rows[representation.name], fitted = _score(
                protocol, representation, train_labels, test_labels, classes.tolist(), request
            )
            if fitted is not None and representation.name in BATCH_NORM:
                _keep(name, protocol, representation, fitted, classes.tolist(), request, checkpoint)
        rows["raw coordinates"] = raw_row
        results[protocol] = {
            "protocol": protocol,
            "settings": _settings(protocol, request),
            "rows": rows,
            "published": _published(run, store, split, protocol),
            "lineage": _lineage(request, checkpoint),
        }
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
        yield Prepared(
            name=name,
            train=features.extract(model, train),
            test=features.extract(model, test),
            state=classifier.state_of(model),
        )


def _score(
    protocol: Protocol, data: Prepared, train_labels: Tensor, test_labels: Tensor, classes: list[int], request: Request
) -> tuple[dict[str, Any], linear.Fitted | None]:
    """One row of one protocol's table, and the classifier behind it if there is one."""
    if protocol == "knn":
        scores = knn.weighted(data.train, train_labels, data.test, len(classes), request.k, request.temperature)
        return summarise(scores.numpy(), test_labels.numpy(), classes), None
    fitted = linear.fit(data.train, train_labels, data.test, test_labels, len(classes), request.seed)
    best = max(range(len(fitted.test_top1)), key=fitted.test_top1.__getitem__)
    return {
        **summarise(fitted.scores.numpy(), test_labels.numpy(), classes),
        "best_epoch": {"epoch": best + 1, "top1": fitted.test_top1[best], "note": "chosen on the test set"},
        "test_top1_by_epoch": fitted.test_top1,
    }, fitted


def _keep(
    name: str,
    protocol: Protocol,
    data: Prepared,
    fitted: linear.Fitted,
    classes: list[int],
    request: Request,
    checkpoint: dict[str, Any],
) -> None:
    """Keep a row's classifier with the run, for `predict`."""
    classifier.save(
        request.run,
        name + (classifier.RECALIBRATED if data.name != "pre-trained" else ""),
        encoder=data.state,
        weight=fitted.weight,
        bias=fitted.bias,
        classes=classes,
        store=request.store,
        facts={
            "protocol": protocol,
            "representation": data.name,
            "batch_norm": BATCH_NORM[data.name],
            "lineage": _lineage(request, checkpoint),
        },
    )


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
    if (meant.stream, meant.method) != (run.config.stream, run.config.method):
        return None
    return {"top1": about.published[protocol], "source": about.source}


def _pretrained_on(run: Run, store: Store, split: Split) -> int:
    """How many of the test clips the encoder saw in pre-training, without their labels: 0 on the run's own split."""
    if store.digest != run.lineage["store"]["digest"] or split.digest == run.lineage["split"]["digest"]:
        return 0
    trained_on = monitor.divide(store, runs.find_split(run, store, None), run.config).kept
    return len(np.intersect1d(trained_on, split.test))


def _lineage(request: Request, checkpoint: dict[str, Any]) -> dict[str, Any]:
    run, store, split = request.run, request.store, request.split
    return {
        "run": {"path": run.path.as_posix(), "digest": run.digest, "preset": run.preset, "seed": run.config.seed},
        "checkpoint": checkpoint,
        "store": {"name": store.name, "digest": store.digest, "recipe": store.facts["recipe"]["name"]},
        "split": {"name": split.name, "digest": split.digest, "train": len(split.train), "test": len(split.test)},
        "test_clips_pretrained_on": _pretrained_on(run, store, split),
        "transfer": store.digest != run.lineage["store"]["digest"],
        "versions": {"skelepipe": importlib.metadata.version("skelepipe"), "torch": torch.__version__},
        "device": devices.describe(request.device),
    }
