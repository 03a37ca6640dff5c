"""The request of an evaluation, its opened inputs, and its parts: one for each result."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from pipeline.store.splits import Split, Subset
from pipeline.store.store import Store
from trainer.config.evaluation import EvalConfig, compose_eval
from trainer.data.streams import derive_stream
from trainer.evaluation import frozen_protocols, lineage
from trainer.evaluation.finetune import Sides
from trainer.evaluation.frozen_protocols import BatchNorm
from trainer.evaluation.labels import LabelledClips
from trainer.evaluation.metrics import summarise
from trainer.evaluation.published import find_published
from trainer.evaluation.result_files import ResultFiles
from trainer.evaluation.results import Lineage
from trainer.evaluation.training_state import remove_unfinished
from trainer.models.encoder import Encoder
from trainer.runs.classifier import PROTOCOLS, save_classifier
from trainer.runs.run import CheckpointName, Run
from trainer.runtime.device import choose_device

Protocol = Literal["knn", "retrieval", "linear", "semi", "finetune"]
SCRATCH = "supervised from scratch"
FINETUNE_ROWS = (frozen_protocols.PRETRAINED, SCRATCH)
"""All rows of the protocols that train the whole network, in their order."""
ROW_ORDER = (
    frozen_protocols.PRETRAINED,
    frozen_protocols.RECALIBRATED,
    SCRATCH,
    frozen_protocols.RANDOM_ENCODER,
    frozen_protocols.RAW_COORDINATES,
)
"""All rows of a table of results, from top to bottom."""


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
    force: bool = False
    """Evaluate again, even if there are results with the same settings or unfinished trainings."""

    @property
    def settings(self) -> EvalConfig:
        """The settings of all protocols."""
        return self.config or compose_eval(preset=self.run.preset)

    @property
    def finetune_rows(self) -> tuple[str, ...]:
        """Rows of the protocols that train the whole network."""
        return FINETUNE_ROWS if self.baselines else (frozen_protocols.PRETRAINED,)


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationInputs:
    """The opened inputs of one evaluation."""

    request: EvaluateRequest
    labelled: LabelledClips
    sides: Sides
    """Clips are read when they are needed."""
    encoder: Encoder
    untrained: Encoder
    """The encoder before its first training step."""
    lineage: dict[str, Any]
    progress: Callable[[str], None]

    def summary(self, scores: Tensor) -> dict[str, Any]:
        """Summarise scores (N, classes) of the test clips."""
        return summarise(scores.numpy(), self.labelled.test_labels, self.labelled.classes)

    def to_stream(self, positions: Tensor) -> Tensor:
        """Convert positions to the run's stream."""
        return derive_stream(positions, self.request.run.config.stream, self.request.run.layout)


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationPart:
    """One result of an evaluation: of a protocol, or of `semi` with one fraction."""

    inputs: EvaluationInputs
    protocol: Protocol
    key: str
    """Such as `linear` or `semi-0.1`."""
    settings: dict[str, Any]
    """Of the protocol, as they are stored in the result."""
    files: ResultFiles
    draws: tuple[Subset, ...] = ()
    """The labelled subsets of `semi`."""

    @property
    def trains_encoder(self) -> bool:
        """Whether the whole network is trained."""
        return self.protocol in ("finetune", "semi")

    def save_classifier(
        self, row: str, state: dict[str, Tensor], layer: tuple[Tensor, Tensor], statistics: str
    ) -> None:
        """Save a row's classifier in the run's folder, for `predict`."""
        inputs = self.inputs
        save_classifier(
            inputs.request.run,
            self.files.classifier_name(recalibrated=row == frozen_protocols.RECALIBRATED),
            encoder=state,
            weight=layer[0],
            bias=layer[1],
            classes=inputs.labelled.classes,
            store=inputs.request.store,
            facts={
                "protocol": self.protocol,
                "representation": row,
                "batch_norm": statistics,
                "settings_digest": self.files.digest,
                "lineage": inputs.lineage,
            },
            renew=inputs.request.force,
        )

    def result(self) -> dict[str, Any]:
        """Write the result and its scores, if rows were added, and return the requested rows."""
        inputs, request = self.inputs, self.inputs.request
        names = request.store.attributes["classes"]
        number = find_published(request.run, Lineage.model_validate(inputs.lineage), self.key, self.settings)
        fields = {
            "protocol": self.protocol,
            "settings": self.settings,
            "class_names": [names.get(str(label), "") for label in inputs.labelled.classes],
            "published": number and asdict(number),
            "notes": list(inputs.labelled.notes),
            "lineage": inputs.lineage,
        }
        order = FINETUNE_ROWS if self.trains_encoder else frozen_protocols.ROWS
        result = self.files.result(fields, order, renew=request.force)
        remove_unfinished(request.run, self.files.name)
        return result


def build_parts(inputs: EvaluationInputs, subsets: Mapping[float, list[Subset]]) -> list[EvaluationPart]:
    """Return the parts of an evaluation, each with the rows that are stored.

    Args:
        inputs: the inputs of the evaluation.
        subsets: the labelled subsets of each fraction of `semi`.
    """
    request, config = inputs.request, inputs.request.settings
    parts = []
    for protocol in dict.fromkeys(request.protocols):
        if protocol == "semi":
            parts += [_semi_part(inputs, fraction, draws) for fraction, draws in subsets.items()]
        elif protocol == "finetune":
            settings = {"seed": config.seed, **config.finetune.model_dump(mode="json")}
            parts.append(_build_part(inputs, protocol, protocol, request.finetune_rows, settings))
        else:
            rows = frozen_protocols.requested_rows(request.batch_norm, request.baselines)
            settings = frozen_protocols.protocol_settings(protocol, config)
            parts.append(_build_part(inputs, protocol, protocol, rows, settings))
    return parts


def _semi_part(inputs: EvaluationInputs, fraction: float, draws: Sequence[Subset]) -> EvaluationPart:
    config = inputs.request.settings
    settings = {
        "fraction": fraction,
        "labelled": len(draws[0].rows),
        "seed": config.seed,
        **config.semi_for(fraction).model_dump(mode="json"),
    }
    return _build_part(inputs, "semi", f"semi-{fraction:g}", inputs.request.finetune_rows, settings, draws)


def _build_part(
    inputs: EvaluationInputs,
    protocol: Protocol,
    key: str,
    rows: Sequence[str],
    settings: dict[str, Any],
    draws: Sequence[Subset] = (),
) -> EvaluationPart:
    request, facts = inputs.request, inputs.lineage
    identity = {
        "key": key,
        "settings": settings,
        "subsets": [subset.digest for subset in draws],
        **{name: facts[name]["digest"] for name in ("run", "checkpoint", "store", "split")},
        "versions": facts["versions"],
        "device": request.device.type,
        "fast": request.fast,
    }
    labelled = inputs.labelled
    axes = {"rows": labelled.test, "classes": np.array(labelled.classes), "labels": labelled.test_labels}
    short_name = lineage.result_name(request.run, request.store, request.split, key, request.checkpoint)
    files = ResultFiles(request.run, short_name, identity, rows, axes)
    if request.force:
        remove_unfinished(request.run, files.name)
    else:
        files.find(_classifiers(protocol, files), inputs.progress)
    return EvaluationPart(inputs=inputs, protocol=protocol, key=key, settings=settings, files=files, draws=tuple(draws))


def _classifiers(protocol: Protocol, files: ResultFiles) -> dict[str, str]:
    """The name of the classifier of each row of a protocol that has one."""
    if protocol not in PROTOCOLS:
        return {}
    recalibrated = {frozen_protocols.RECALIBRATED: files.classifier_name(recalibrated=True)}
    return {frozen_protocols.PRETRAINED: files.classifier_name(), **(recalibrated if protocol == "linear" else {})}
