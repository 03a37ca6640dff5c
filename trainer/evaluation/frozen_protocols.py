"""Protocols on frozen features: neighbours and linear classifiers, beside what no training at all would have given."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

import torch
from torch import Tensor

from trainer.config.evaluation import EvalConfig, FeatureLayer
from trainer.data import augment, counter_rng
from trainer.data.streams import derive_stream
from trainer.evaluation import features, linear
from trainer.evaluation.finetune import Sides
from trainer.evaluation.knn import weighted_knn
from trainer.models.encoder import Encoder
from trainer.runs.classifier import state_of
from trainer.runs.run import Run

FrozenProtocol = Literal["knn", "retrieval", "linear"]
BatchNorm = Literal["both", "trained", "recalibrated"]
PRETRAINED: Final = "pre-trained"
RECALIBRATED: Final = "pre-trained, recalibrated"
RANDOM_ENCODER: Final = "random encoder"
RAW_COORDINATES: Final = "raw coordinates"
STATISTICS = {PRETRAINED: "as training left them", RECALIBRATED: "of the training clips"}
"""Rows whose classifiers are kept, and where their batch-norm statistics come from."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Representation:
    """One representation of a split's clips."""

    name: str
    train: Tensor
    """(R, D)."""
    test: Tensor
    """(N, D)."""
    monitor: tuple[Tensor, Tensor] | None
    """Both again as the reference's monitor has them, when the settings ask for it."""
    state: dict[str, Tensor]
    """Of the encoder that gave them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProtocolScores:
    """What one protocol says of one representation."""

    scores: Tensor
    """(N, classes)."""
    more: dict[str, Any]
    """What the result says beyond the scores' summary."""
    layer: tuple[Tensor, Tensor] | None
    """Weight and bias of the classifier, when there is one."""


def extract_representations(
    run: Run,
    encoder: Encoder,
    fresh: Encoder | None,
    sides: Sides,
    batch_norm: BatchNorm,
    config: EvalConfig,
    progress: Callable[[str], None],
) -> Iterator[Representation]:
    """The features of both sides, for each state of the encoder that is worth a row.

    `pre-trained` has the batch-norm statistics that training left, `pre-trained, recalibrated` those of the clean
    training clips; `random encoder` is the encoder as it was before its first step, recalibrated likewise.
    """
    shown = [derive_stream(side, run.config.stream, run.layout) for side in (sides.train, sides.test)]
    wanted = {"trained": [PRETRAINED], "recalibrated": [RECALIBRATED], "both": [PRETRAINED, RECALIBRATED]}[batch_norm]
    for name, model in [*((row, encoder) for row in wanted), *([(RANDOM_ENCODER, fresh)] if fresh else [])]:
        progress(f"features, {name}")
        if name != PRETRAINED:
            features.recalibrate(model, shown[0])
        train, test = (features.extract(model, side) for side in shown)
        special = config.knn.augmented or config.knn.layer != "backbone"
        monitor = None
        if special:
            views = [_view(run, side, config, number) for number, side in enumerate((sides.train, sides.test))]
            layer: FeatureLayer = config.knn.layer
            monitor = (features.extract(model, views[0], layer), features.extract(model, views[1], layer))
        yield Representation(name=name, train=train, test=test, monitor=monitor, state=state_of(model))


def _view(run: Run, clips: Tensor, config: EvalConfig, number: int) -> Tensor:
    """What the reference's monitor shows the encoder of a side."""
    if config.knn.augmented:
        uniforms = counter_rng.uniform(config.seed, 0, torch.arange(len(clips)), number, augment.DRAWS_PER_VIEW)
        clips = augment.random_view(clips, uniforms, run.config.augment)
    return derive_stream(clips, run.config.stream, run.layout)


def score_protocol(protocol: FrozenProtocol, data: Representation, sides: Sides, config: EvalConfig) -> ProtocolScores:
    """One protocol on one representation."""
    labels, classes = sides.train_labels, sides.classes
    if protocol == "knn":
        train, test = data.monitor or (data.train, data.test)
        votes = weighted_knn(train, labels, test, classes, config.knn.k, config.knn.temperature)
        return ProtocolScores(scores=votes, more={}, layer=None)
    if protocol == "retrieval":
        return ProtocolScores(scores=weighted_knn(data.train, labels, data.test, classes, 1), more={}, layer=None)
    fitted = linear.fit(data.train, labels, data.test, sides.test_labels, classes, config.seed, config.linear)
    more = best_epoch_fields({epoch + 1: top1 for epoch, top1 in enumerate(fitted.test_top1)})
    return ProtocolScores(scores=fitted.scores, more=more, layer=(fitted.weight, fitted.bias))


def protocol_settings(protocol: FrozenProtocol, config: EvalConfig) -> dict[str, Any]:
    """How a protocol was run."""
    if protocol == "knn":
        return {"similarity": "cosine", **config.knn.model_dump(mode="json"), "seed": config.seed}
    if protocol == "retrieval":
        return {"similarity": "cosine", "k": 1, "layer": "backbone"}
    return {"features": "backbone", "seed": config.seed, **config.linear.model_dump(mode="json")}


def best_epoch_fields(test_top1: dict[int, float]) -> dict[str, Any]:
    """The best of all looks at the test clips, named as what it is, and every look."""
    best = max(test_top1, key=lambda epoch: (test_top1[epoch], -epoch))
    return {
        "best_epoch": {"epoch": best, "top1": test_top1[best], "note": "chosen on the test set"},
        "test_top1_by_epoch": {str(epoch): top1 for epoch, top1 in test_top1.items()},
    }
