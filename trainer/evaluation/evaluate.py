"""Evaluate a run's encoder and the baselines with several protocols (`skelepipe eval`), and save the results."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.store.splits import Split, Subset, load_subsets
from pipeline.store.store import Store
from trainer.config.evaluation import EvalConfig, FinetuneConfig, compose_eval
from trainer.data.loader import load_clips
from trainer.data.streams import derive_stream
from trainer.evaluation import finetune, frozen_protocols, lineage
from trainer.evaluation.divergence import named_errors
from trainer.evaluation.finetune import FinetuneResult, Sides
from trainer.evaluation.frozen_protocols import BatchNorm, FrozenProtocol
from trainer.evaluation.knn import nearest_neighbour
from trainer.evaluation.metrics import spread, summarise
from trainer.evaluation.results import write_result
from trainer.models.encoder import Encoder
from trainer.runs.classifier import RECALIBRATED_SUFFIX, copy_state, save_classifier
from trainer.runs.run import CheckpointName, Run, build_run_encoder, load_encoder
from trainer.runtime.device import choose_device

Protocol = Literal["knn", "retrieval", "linear", "semi", "finetune"]
SCRATCH = "supervised from scratch"


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateRequest:
    """What to evaluate."""

    run: Run
    store: Store
    split: Split
    protocols: tuple[Protocol, ...] = ("knn", "linear")
    device: torch.device = field(default_factory=choose_device)
    config: EvalConfig | None = None
    """Default: the evaluation settings of the run's preset."""
    fractions: tuple[float, ...] = (0.1,)
    """Fractions of the training labels for `semi`; each is evaluated on all stored subsets."""
    batch_norm: BatchNorm = "both"
    """Which batch-norm statistics the rows of the pre-trained encoder use in protocols on frozen features."""
    checkpoint: CheckpointName = "last"
    baselines: bool = True
    """Also evaluate the untrained network (frozen, or trained from scratch) and the raw coordinates."""
    fast: bool = True
    """Use the fast implementation of the encoder (models/fast/); results differ by rounding only."""

    @property
    def settings(self) -> EvalConfig:
        """The settings of all protocols."""
        return self.config or compose_eval(preset=self.run.preset)

    @property
    def finetune_rows(self) -> tuple[str, ...]:
        """Rows of the protocols that train the whole network."""
        return (frozen_protocols.PRETRAINED, SCRATCH) if self.baselines else (frozen_protocols.PRETRAINED,)


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationInputs:
    """The loaded inputs of one evaluation."""

    request: EvaluateRequest
    sides: Sides
    classes: list[int]
    """The data set's class ids, in the order of the columns of the scores."""
    encoder: Encoder
    untrained: Encoder
    """The encoder before its first training step."""
    lineage: dict[str, Any]
    progress: Callable[[str], None]

    def summary(self, scores: Tensor) -> dict[str, Any]:
        """Summarise scores (N, classes) of the test clips."""
        return summarise(scores.numpy(), self.sides.test_labels.numpy(), self.classes)

    def to_stream(self, positions: Tensor) -> Tensor:
        """Convert positions to the run's stream."""
        return derive_stream(positions, self.request.run.config.stream, self.request.run.layout)


def evaluate(
    request: EvaluateRequest, progress: Callable[[str], None] = lambda message: None
) -> dict[str, dict[str, Any]]:
    """Run protocols on a run's encoder and on the baselines, and write the results into the run's folder.

    Args:
        request: what to evaluate.
        progress: called with a message at the start of each part.

    Returns:
        A result for each protocol; for `semi`, a result for each fraction, with keys such as `semi-0.1`. They are the
        stored fields and, under `written`, the path of the file.

    Raises:
        ArtifactNotFound: no labelled subset of a fraction is stored.
        ArtifactError: run, store or split are damaged or do not match.
        NotFinite: a training on labels diverged, or features are not finite; its protocol is not saved.
    """
    run, store, split = request.run, request.store, request.split
    fractions = request.fractions if "semi" in request.protocols else ()
    subsets = {fraction: load_subsets(store, split, fraction) for fraction in fractions}
    progress("loading clips")
    rows = np.concatenate([split.train, split.test])
    classes, positions = np.unique(store.columns["label"][rows], return_inverse=True)
    clips = load_clips(store, rows, run.config.frames, run.config.bodies)
    counts = [len(split.train), len(split.test)]
    (train, test), (train_labels, test_labels) = (torch.split(x, counts) for x in (clips, torch.from_numpy(positions)))
    encoder, checkpoint = load_encoder(run, request.device, request.checkpoint, fast=request.fast)
    inputs = EvaluationInputs(
        request=request,
        sides=Sides(train=train, train_labels=train_labels, test=test, test_labels=test_labels, classes=len(classes)),
        classes=classes.tolist(),
        encoder=encoder,
        untrained=build_run_encoder(run, fast=request.fast).to(request.device),
        lineage=lineage.lineage(run, store, split, checkpoint, request.device),
        progress=progress,
    )
    results = {}
    if "finetune" in request.protocols:
        results["finetune"] = _finetune(inputs, "finetune")
    for fraction, draws in subsets.items():
        results[f"semi-{fraction:g}"] = _semi_supervised(inputs, fraction, draws)
    frozen: list[FrozenProtocol] = [protocol for protocol in get_args(FrozenProtocol) if protocol in request.protocols]
    if frozen:
        results |= _frozen_protocols(inputs, frozen)
    order = [key for protocol in request.protocols for key in results if key.partition("-")[0] == protocol]
    return {key: results[key] for key in dict.fromkeys(order)}


def _frozen_protocols(inputs: EvaluationInputs, protocols: list[FrozenProtocol]) -> dict[str, dict[str, Any]]:
    """Run protocols on frozen features; with baselines, each gets a row for 1-NN on raw coordinates."""
    request, sides = inputs.request, inputs.sides
    rows: dict[FrozenProtocol, dict[str, Any]] = {protocol: {} for protocol in protocols}
    scores: dict[FrozenProtocol, dict[str, Tensor]] = {protocol: {} for protocol in protocols}
    untrained = inputs.untrained if request.baselines else None
    for data in frozen_protocols.extract_representations(
        request.run, inputs.encoder, untrained, sides, request.batch_norm, request.settings, inputs.progress
    ):
        for protocol in protocols:
            inputs.progress(f"{protocol}, {data.name}")
            with named_errors(f"{protocol}, {data.name}"):
                scored = frozen_protocols.score_protocol(protocol, data, sides, request.settings)
            rows[protocol][data.name] = {**inputs.summary(scored.scores), **scored.more}
            scores[protocol][data.name] = scored.scores
            if scored.layer and data.name in frozen_protocols.STATISTICS:
                suffix = RECALIBRATED_SUFFIX if data.name == frozen_protocols.RECALIBRATED else ""
                name, statistics = _result_name(request, protocol) + suffix, frozen_protocols.STATISTICS[data.name]
                _save_classifier(inputs, protocol, name, data.name, data.state, scored.layer, statistics)
    if request.baselines:
        inputs.progress("1-NN on raw coordinates")
        train, test = inputs.to_stream(sides.train).flatten(1), inputs.to_stream(sides.test).flatten(1)
        raw = inputs.summary(nearest_neighbour(train, sides.train_labels, test, sides.classes))
        for protocol in protocols:
            rows[protocol][frozen_protocols.RAW_COORDINATES] = {"classifier": "nearest neighbour, Euclidean", **raw}
    return {
        protocol: _write_result(
            inputs,
            protocol,
            protocol,
            frozen_protocols.protocol_settings(protocol, request.settings),
            rows[protocol],
            scores[protocol],
        )
        for protocol in protocols
    }


def _finetune(inputs: EvaluationInputs, protocol: Literal["finetune"]) -> dict[str, Any]:
    """Fine-tune with all labels; with baselines, also train the same network from scratch."""
    config = inputs.request.settings
    rows, scores = {}, {}
    for name in inputs.request.finetune_rows:
        start = inputs.untrained if name == SCRATCH else inputs.encoder
        trained = _train(inputs, f"{protocol}, {name}", start, inputs.sides, config.finetune, config.seed)
        rows[name] = {**inputs.summary(trained.scores), **frozen_protocols.best_epoch_fields(trained.test_top1)}
        scores[name] = trained.scores
        if name == frozen_protocols.PRETRAINED:
            layer, state = (trained.weight, trained.bias), copy_state(trained.encoder)
            result_name, statistics = _result_name(inputs.request, protocol), "as fine-tuning left them"
            _save_classifier(inputs, protocol, result_name, name, state, layer, statistics)
    settings = {"seed": config.seed, **config.finetune.model_dump(mode="json")}
    return _write_result(inputs, protocol, protocol, settings, rows, scores)


def _semi_supervised(inputs: EvaluationInputs, fraction: float, draws: list[Subset]) -> dict[str, Any]:
    """Fine-tune with each stored draw of a fraction of the labels; with baselines, also train from scratch."""
    config = inputs.request.settings.semi_for(fraction)
    rows, scores = {}, {}
    for name in inputs.request.finetune_rows:
        start = inputs.untrained if name == SCRATCH else inputs.encoder
        seeds = {}
        for subset in draws:
            indices = torch.from_numpy(np.searchsorted(inputs.request.split.train, subset.rows))
            sides = replace(
                inputs.sides, train=inputs.sides.train[indices], train_labels=inputs.sides.train_labels[indices]
            )
            title = f"semi {fraction:g}, {name}, draw {subset.seed}"
            trained = _train(inputs, title, start, sides, config, inputs.request.settings.seed)
            seeds[str(subset.seed)] = {
                **inputs.summary(trained.scores),
                **frozen_protocols.best_epoch_fields(trained.test_top1),
                "subset": subset.digest,
            }
            scores[f"{name}/{subset.seed}"] = trained.scores
        rows[name] = {**spread([row["top1"] for row in seeds.values()]), "seeds": seeds}
    settings = {
        "fraction": fraction,
        "labelled": len(draws[0].rows),
        "seed": inputs.request.settings.seed,
        **config.model_dump(mode="json"),
    }
    return _write_result(inputs, "semi", f"semi-{fraction:g}", settings, rows, scores)


def _train(
    inputs: EvaluationInputs, title: str, start: Encoder, sides: Sides, config: FinetuneConfig, seed: int
) -> FinetuneResult:
    def report_epoch(epoch: int, epochs: int) -> None:
        if epoch % max(1, epochs // 5) == 0:
            inputs.progress(f"{title}, epoch {epoch} of {epochs}")

    views = inputs.request.run.config.augment
    with named_errors(title):
        return finetune.fit(start, sides, inputs.to_stream, config, views=views, seed=seed, progress=report_epoch)


def _save_classifier(
    inputs: EvaluationInputs,
    protocol: Protocol,
    name: str,
    row: str,
    state: dict[str, Tensor],
    layer: tuple[Tensor, Tensor],
    statistics: str,
) -> None:
    """Save a row's classifier in the run's folder, for `predict`."""
    save_classifier(
        inputs.request.run,
        name,
        encoder=state,
        weight=layer[0],
        bias=layer[1],
        classes=inputs.classes,
        store=inputs.request.store,
        facts={"protocol": protocol, "representation": row, "batch_norm": statistics, "lineage": inputs.lineage},
    )


def _write_result(
    inputs: EvaluationInputs,
    protocol: Protocol,
    key: str,
    settings: dict[str, Any],
    rows: dict[str, Any],
    scores: dict[str, Tensor],
) -> dict[str, Any]:
    """Write one result, and its scores, which are needed to fuse runs."""
    request = inputs.request
    names = request.store.attributes["classes"]
    result: dict[str, Any] = {
        "protocol": protocol,
        "settings": settings,
        "rows": rows,
        "class_names": [names.get(str(label), "") for label in inputs.classes],
        "published": lineage.published(request.run, request.store, request.split, key),
        "lineage": inputs.lineage,
    }
    name = _result_name(request, key)
    arrays: dict[str, NDArray[Any]] = {row: array.numpy().astype(np.float32) for row, array in scores.items()}
    axes = {"rows": request.split.test, "classes": np.array(inputs.classes), "labels": inputs.sides.test_labels.numpy()}
    result["written"] = write_result(request.run, name, result, {**axes, **arrays}).as_posix()
    return result


def _result_name(request: EvaluateRequest, key: str) -> str:
    return lineage.result_name(request.run, request.store, request.split, key, request.checkpoint)
