"""Protocols on frozen features (kNN, retrieval, linear) for the encoder and for the random-encoder baseline."""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import torch
from torch import Tensor

from trainer.config.evaluation import EvalConfig
from trainer.data import augment, counter_rng
from trainer.data.stored_clips import Clips
from trainer.data.streams import derive_stream
from trainer.evaluation import features, linear
from trainer.evaluation.divergence import named_errors, require_finite_features
from trainer.evaluation.finetune import Sides
from trainer.evaluation.knn import weighted_knn
from trainer.models.encoder import Encoder
from trainer.runs.classifier import copy_state
from trainer.runs.run import Run

FrozenProtocol = Literal["knn", "retrieval", "linear"]
BatchNorm = Literal["both", "trained", "recalibrated"]
PRETRAINED: Final = "pre-trained"
RECALIBRATED: Final = "pre-trained, recalibrated"
RANDOM_ENCODER: Final = "random encoder"
RAW_COORDINATES: Final = "raw coordinates"
ROWS = (PRETRAINED, RECALIBRATED, RANDOM_ENCODER, RAW_COORDINATES)
"""All rows of these protocols, in their order."""
STATISTICS = {PRETRAINED: "as training left them", RECALIBRATED: "of the training clips"}
"""Rows whose classifiers are saved, with the origin of their batch-norm statistics."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Representation:
    """The features of a split's clips by one state of an encoder."""

    name: str
    train: Tensor
    """(R, D)."""
    test: Tensor
    """(N, D)."""
    reference_knn_features: tuple[Tensor, Tensor] | None
    """Training and test features as the reference's kNN monitor computes them, if the settings ask for it."""
    state: dict[str, Tensor]
    """State dict of the encoder."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProtocolScores:
    """The results of one protocol for one representation."""

    scores: Tensor
    """(N, classes)."""
    more: dict[str, Any]
    """Further fields of the result."""
    layer: tuple[Tensor, Tensor] | None
    """Weight and bias of the classifier, if there is one."""


def extract_representations(
    run: Run,
    encoder: Encoder,
    untrained: Encoder,
    sides: Sides,
    rows: Sequence[str],
    config: EvalConfig,
    progress: Callable[[str], None],
) -> Iterator[Representation]:
    """Compute the features of both sides for each of the requested rows of the results.

    `pre-trained` has the batch-norm statistics of the training, `pre-trained, recalibrated` those of the clean
    training clips; `random encoder` is the encoder before its first training step, also recalibrated.
    """
    for name in rows:
        progress(f"features, {name}")
        model = untrained if name == RANDOM_ENCODER else encoder
        if name != PRETRAINED:
            model = copy.deepcopy(model)
            features.recalibrate(model, sides.train, to_input=lambda clips: _to_stream(run, clips))
        with named_errors(name):
            train, test = (
                features.extract_blocks(model, side, lambda _, clips: _to_stream(run, clips))
                for side in (sides.train, sides.test)
            )
            require_finite_features(train)
            require_finite_features(test)
        reference = None
        if config.knn.augmented or config.knn.layer != "backbone":
            reference = (
                _reference_knn_features(run, model, sides.train, config, 0),
                _reference_knn_features(run, model, sides.test, config, 1),
            )
            with named_errors(f"knn, {name}"):
                for vectors in reference:
                    require_finite_features(vectors)
        state = copy_state(model)
        yield Representation(name=name, train=train, test=test, reference_knn_features=reference, state=state)


def _to_stream(run: Run, clips: Tensor) -> Tensor:
    return derive_stream(clips, run.config.stream, run.layout)


def _reference_knn_features(run: Run, encoder: Encoder, clips: Clips, config: EvalConfig, side: int) -> Tensor:
    """The features of the reference's kNN monitor for one side: 0 train, 1 test."""

    def to_input(first: int, block: Tensor) -> Tensor:
        if config.knn.augmented:
            indices = torch.arange(first, first + len(block))
            uniforms = counter_rng.uniform(config.seed, 0, indices, side, augment.DRAWS_PER_VIEW)
            block = augment.random_view(block, uniforms, run.config.augment)
        return _to_stream(run, block)

    return features.extract_blocks(encoder, clips, to_input, config.knn.layer)


def requested_rows(batch_norm: BatchNorm, baselines: bool) -> list[str]:
    """The rows for some options of the evaluation."""
    trained = {"trained": [PRETRAINED], "recalibrated": [RECALIBRATED], "both": [PRETRAINED, RECALIBRATED]}
    return [*trained[batch_norm], *([RANDOM_ENCODER, RAW_COORDINATES] if baselines else [])]


def score_protocol(protocol: FrozenProtocol, data: Representation, sides: Sides, config: EvalConfig) -> ProtocolScores:
    """Run one protocol on one representation."""
    labels, classes = sides.train_labels, sides.classes
    if protocol == "knn":
        train, test = data.reference_knn_features or (data.train, data.test)
        votes = weighted_knn(train, labels, test, classes, config.knn.k, config.knn.temperature)
        return ProtocolScores(scores=votes, more={}, layer=None)
    if protocol == "retrieval":
        return ProtocolScores(scores=weighted_knn(data.train, labels, data.test, classes, 1), more={}, layer=None)
    trained = linear.fit(data.train, labels, data.test, sides.test_labels, classes, config.seed, config.linear)
    more = best_epoch_fields(trained.test_top1)
    return ProtocolScores(scores=trained.scores, more=more, layer=(trained.weight, trained.bias))


def protocol_settings(protocol: FrozenProtocol, config: EvalConfig) -> dict[str, Any]:
    """The settings of a protocol, as they are stored in the result."""
    if protocol == "knn":
        return {"similarity": "cosine", **config.knn.model_dump(mode="json"), "seed": config.seed}
    if protocol == "retrieval":
        return {"similarity": "cosine", "k": 1, "layer": "backbone"}
    return {"features": "backbone", "seed": config.seed, **config.linear.model_dump(mode="json")}


def best_epoch_fields(test_top1: dict[int, float]) -> dict[str, Any]:
    """The best epoch on the test clips, with a note that it was chosen on the test set, and the accuracy by epoch."""
    best = max(test_top1, key=lambda epoch: (test_top1[epoch], -epoch))
    return {
        "best_epoch": {"epoch": best, "top1": test_top1[best], "note": "chosen on the test set"},
        "test_top1_by_epoch": {str(epoch): top1 for epoch, top1 in test_top1.items()},
    }
