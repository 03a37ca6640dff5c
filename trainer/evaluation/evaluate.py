"""What a run is worth: protocols on its encoder, each result kept with the run beside what it is to be held against."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.store.splits import Split, Subset, load_subsets
from pipeline.store.store import Store
from trainer.config.evaluation import EVAL_DEFAULTS, EvalConfig, FinetuneConfig
from trainer.data.loader import load_clips
from trainer.data.streams import derive_stream
from trainer.evaluation import finetune, frozen_protocols, lineage
from trainer.evaluation.finetune import Finetuned, Sides
from trainer.evaluation.frozen_protocols import BatchNorm, FrozenProtocol
from trainer.evaluation.knn import nearest_neighbour
from trainer.evaluation.metrics import spread, summarise
from trainer.models.encoder import Encoder
from trainer.runs.classifier import RECALIBRATED, save_classifier, state_of
from trainer.runs.run import CheckpointName, Run, load_encoder, method_of_run, write_result
from trainer.runtime.device import choose_device

Protocol = Literal["knn", "retrieval", "linear", "semi", "finetune"]
SCRATCH = "supervised from scratch"


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateRequest:
    """What the user asks of an evaluation."""

    run: Run
    store: Store
    split: Split
    protocols: tuple[Protocol, ...] = ("knn", "linear")
    device: torch.device = field(default_factory=choose_device)
    config: EvalConfig = EVAL_DEFAULTS
    fractions: tuple[float, ...] = (0.1,)
    """Of the training labels, for `semi`; each on every stored subset."""
    batch_norm: BatchNorm = "both"
    """Which pre-trained rows the frozen protocols have."""
    checkpoint: CheckpointName = "last"
    baselines: bool = True
    """Also what the encoder is held against: the same network from its start, random or trained from scratch, and raw
    coordinates."""
    fast: bool = True
    """Encode in less time, equal but for rounding: by trainer/models/fast/cpu.py, on a GPU by trainer/models/fast/gpu.py."""

    @property
    def starts(self) -> tuple[str, ...]:
        """Rows of the protocols that train the whole network."""
        return (frozen_protocols.PRETRAINED, SCRATCH) if self.baselines else (frozen_protocols.PRETRAINED,)


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationInputs:
    """All that one evaluation works on."""

    request: EvaluateRequest
    sides: Sides
    classes: list[int]
    """The data set's class ids, in the order of the scores' columns."""
    encoder: Encoder
    fresh: Encoder
    """The encoder before its first step."""
    lineage: dict[str, Any]
    progress: Callable[[str], None]

    def summary(self, scores: Tensor) -> dict[str, Any]:
        """What scores (N, classes) of the test clips come to."""
        return summarise(scores.numpy(), self.sides.test_labels.numpy(), self.classes)

    def show(self, positions: Tensor) -> Tensor:
        """Positions as the run's stream."""
        return derive_stream(positions, self.request.run.config.stream, self.request.run.layout)


def evaluate(
    request: EvaluateRequest, progress: Callable[[str], None] = lambda doing: None
) -> dict[str, dict[str, Any]]:
    """Run protocols on a run's encoder and on what it is to be held against; keep the results with the run.

    Returns:
        A result for each protocol; `semi` gives one for each fraction, named like `semi-0.1`.

    Raises:
        ArtifactNotFound: no labelled subset of a fraction is stored.
        ArtifactError: run, store or split are damaged or do not match.
    """
    run, store, split = request.run, request.store, request.split
    subsets = {fraction: load_subsets(store, split, fraction) for fraction in _fractions(request)}
    progress("reading clips")
    both = np.concatenate([split.train, split.test])
    classes, positions = np.unique(store.columns["label"][both], return_inverse=True)
    clips = load_clips(store, both, run.config.frames, run.config.bodies)
    parts = [len(split.train), len(split.test)]
    (train, test), (train_labels, test_labels) = (torch.split(x, parts) for x in (clips, torch.from_numpy(positions)))
    encoder, checkpoint = load_encoder(run, request.device, request.checkpoint, fast=request.fast)
    work = EvaluationInputs(
        request=request,
        sides=Sides(train=train, train_labels=train_labels, test=test, test_labels=test_labels, classes=len(classes)),
        classes=classes.tolist(),
        encoder=encoder,
        fresh=method_of_run(run, fast=request.fast).pair.query.to(request.device),
        lineage=lineage.lineage(run, store, split, checkpoint, request.device),
        progress=progress,
    )
    results = {}
    if "finetune" in request.protocols:  # before recalibration changes the encoder's statistics
        results["finetune"] = _finetune(work, "finetune")
    for fraction, drawn in subsets.items():
        results[f"semi-{fraction:g}"] = _semi_supervised(work, fraction, drawn)
    asked: list[FrozenProtocol] = [protocol for protocol in get_args(FrozenProtocol) if protocol in request.protocols]
    if asked:
        results |= _frozen_protocols(work, asked)
    order = [key for protocol in request.protocols for key in results if key.partition("-")[0] == protocol]
    return {key: results[key] for key in dict.fromkeys(order)}


def _fractions(request: EvaluateRequest) -> tuple[float, ...]:
    return request.fractions if "semi" in request.protocols else ()


def _frozen_protocols(work: EvaluationInputs, protocols: list[FrozenProtocol]) -> dict[str, dict[str, Any]]:
    """The protocols on frozen features, each with its row for the nearest neighbour of raw coordinates."""
    request, sides = work.request, work.sides
    rows: dict[FrozenProtocol, dict[str, Any]] = {protocol: {} for protocol in protocols}
    scores: dict[FrozenProtocol, dict[str, Tensor]] = {protocol: {} for protocol in protocols}
    fresh = work.fresh if request.baselines else None
    for data in frozen_protocols.extract_representations(
        request.run, work.encoder, fresh, sides, request.batch_norm, request.config, work.progress
    ):
        for protocol in protocols:
            work.progress(f"{protocol}, {data.name}")
            scored = frozen_protocols.score_protocol(protocol, data, sides, request.config)
            rows[protocol][data.name] = {**work.summary(scored.scores), **scored.more}
            scores[protocol][data.name] = scored.scores
            if scored.layer and data.name in frozen_protocols.STATISTICS:
                name = _result_name(request, protocol) + (
                    RECALIBRATED if data.name == frozen_protocols.RECALIBRATED else ""
                )
                _save_classifier(
                    work, protocol, name, data.name, data.state, scored.layer, frozen_protocols.STATISTICS[data.name]
                )
    if request.baselines:
        work.progress("raw coordinates")
        train, test = work.show(sides.train).flatten(1), work.show(sides.test).flatten(1)
        raw = work.summary(nearest_neighbour(train, sides.train_labels, test, sides.classes))
        for protocol in protocols:
            rows[protocol][frozen_protocols.RAW_COORDINATES] = {"classifier": "nearest neighbour, Euclidean", **raw}
    return {
        protocol: _write_result(
            work,
            protocol,
            protocol,
            frozen_protocols.protocol_settings(protocol, request.config),
            rows[protocol],
            scores[protocol],
        )
        for protocol in protocols
    }


def _finetune(work: EvaluationInputs, protocol: Literal["finetune"]) -> dict[str, Any]:
    """Fine-tuning with all labels, beside the same network trained from its start."""
    config = work.request.config
    rows, scores = {}, {}
    for name in work.request.starts:
        start = work.fresh if name == SCRATCH else work.encoder
        trained = _train(work, f"{protocol}, {name}", start, work.sides, config.finetune, config.seed)
        rows[name] = {**work.summary(trained.scores), **frozen_protocols.best_epoch_fields(trained.test_top1)}
        scores[name] = trained.scores
        if name == frozen_protocols.PRETRAINED:
            layer, state = (trained.weight, trained.bias), state_of(trained.encoder)
            _save_classifier(
                work, protocol, _result_name(work.request, protocol), name, state, layer, "as fine-tuning left them"
            )
    settings = {"seed": config.seed, **config.finetune.model_dump(mode="json")}
    return _write_result(work, protocol, protocol, settings, rows, scores)


def _semi_supervised(work: EvaluationInputs, fraction: float, drawn: list[Subset]) -> dict[str, Any]:
    """Fine-tuning with each stored draw of a fraction of the labels, beside the same network from its start."""
    config = work.request.config.semi_for(fraction)
    rows, scores = {}, {}
    for name in work.request.starts:
        start = work.fresh if name == SCRATCH else work.encoder
        seeds = {}
        for subset in drawn:
            places = torch.from_numpy(np.searchsorted(work.request.split.train, subset.rows))
            few = replace(work.sides, train=work.sides.train[places], train_labels=work.sides.train_labels[places])
            told = f"semi {fraction:g}, {name}, draw {subset.seed}"
            trained = _train(work, told, start, few, config, work.request.config.seed)
            seeds[str(subset.seed)] = {
                **work.summary(trained.scores),
                **frozen_protocols.best_epoch_fields(trained.test_top1),
                "subset": subset.digest,
            }
            scores[f"{name}/{subset.seed}"] = trained.scores
        rows[name] = {**spread([row["top1"] for row in seeds.values()]), "seeds": seeds}
    settings = {
        "fraction": fraction,
        "labelled": len(drawn[0].rows),
        "seed": work.request.config.seed,
        **config.model_dump(mode="json"),
    }
    return _write_result(work, "semi", f"semi-{fraction:g}", settings, rows, scores)


def _train(
    work: EvaluationInputs, told: str, start: Encoder, sides: Sides, config: FinetuneConfig, seed: int
) -> Finetuned:
    def tell(epoch: int, epochs: int) -> None:
        if epoch % max(1, epochs // 5) == 0:
            work.progress(f"{told}, epoch {epoch} of {epochs}")

    views = work.request.run.config.augment
    return finetune.fit(start, sides, work.show, config, views=views, seed=seed, progress=tell)


def _save_classifier(
    work: EvaluationInputs,
    protocol: Protocol,
    name: str,
    row: str,
    state: dict[str, Tensor],
    layer: tuple[Tensor, Tensor],
    statistics: str,
) -> None:
    """Keep a row's classifier with the run, for `predict`."""
    save_classifier(
        work.request.run,
        name,
        encoder=state,
        weight=layer[0],
        bias=layer[1],
        classes=work.classes,
        store=work.request.store,
        facts={"protocol": protocol, "representation": row, "batch_norm": statistics, "lineage": work.lineage},
    )


def _write_result(
    work: EvaluationInputs,
    protocol: Protocol,
    key: str,
    settings: dict[str, Any],
    rows: dict[str, Any],
    scores: dict[str, Tensor],
) -> dict[str, Any]:
    """Write one result, and the scores behind it for whoever fuses them."""
    request = work.request
    names = request.store.attributes["classes"]
    result: dict[str, Any] = {
        "protocol": protocol,
        "settings": settings,
        "rows": rows,
        "class_names": [names.get(str(label), "") for label in work.classes],
        "published": lineage.published(request.run, request.store, request.split, key),
        "lineage": work.lineage,
    }
    name = _result_name(request, key)
    kept: dict[str, NDArray[Any]] = {row: array.numpy().astype(np.float32) for row, array in scores.items()}
    about = {"rows": request.split.test, "classes": np.array(work.classes), "labels": work.sides.test_labels.numpy()}
    result["written"] = write_result(request.run, name, result, {**about, **kept}).as_posix()
    return result


def _result_name(request: EvaluateRequest, key: str) -> str:
    return lineage.name_of(request.run, request.store, request.split, key, request.checkpoint)
