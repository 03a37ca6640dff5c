"""Evaluate a run's encoder and the baselines with several protocols (`skelepipe eval`), and save the results."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch

from pipeline.store.splits import load_subsets
from trainer.config.evaluation import FinetuneConfig
from trainer.data.stored_clips import StoredClips, hold, select
from trainer.evaluation import finetune, frozen_protocols, lineage
from trainer.evaluation.divergence import named_errors
from trainer.evaluation.finetune import FinetuneResult, Sides
from trainer.evaluation.frozen_protocols import FrozenProtocol
from trainer.evaluation.labels import labelled_clips
from trainer.evaluation.metrics import spread
from trainer.evaluation.raw_coordinates import classify_raw_coordinates
from trainer.evaluation.request import SCRATCH, EvaluateRequest, EvaluationInputs, EvaluationPart, build_parts
from trainer.evaluation.results import newest_results, read_results
from trainer.evaluation.training_state import TrainingState
from trainer.runs.classifier import copy_state
from trainer.runs.run import build_run_encoder, load_encoder

__all__ = ["EvaluateRequest", "evaluate"]


def evaluate(
    request: EvaluateRequest, progress: Callable[[str], None] = lambda message: None
) -> dict[str, dict[str, Any]]:
    """Run protocols on a run's encoder and on the baselines, and write the results into the run's folder.

    Rows that are stored with the same settings are not computed again, and trainings that were stopped are resumed.
    Clips are read from the store in blocks; a training of the whole network holds them all, if they fit in memory.

    Args:
        request: what to evaluate.
        progress: called with a message at the start of each part.

    Returns:
        A result for each protocol; for `semi`, a result for each fraction, with keys such as `semi-0.1`. They are the
        stored fields with the requested rows; also `written`, the path of the file, `reused`, whether all these rows
        were stored before, and `newest`, the name of the newest result of that protocol with any settings.

    Raises:
        ArtifactNotFound: no labelled subset of a fraction is stored.
        ArtifactError: run, store or split are damaged or do not match, or a side of the split has no labelled clip.
        NotFinite: a training on labels diverged, or features are not finite; its protocol is not saved.
        OutputFailed, OutputLocked: a result or the state of a training cannot be saved.
    """
    run, store, split = request.run, request.store, request.split
    fractions = request.fractions if "semi" in request.protocols else ()
    subsets = {fraction: load_subsets(store, split, fraction) for fraction in fractions}
    # Before the clips, because it checks the run's settings, such as the number of frames.
    encoder, checkpoint = load_encoder(run, request.device, request.checkpoint, fast=request.fast)
    labelled = labelled_clips(store, split)
    train, test = (
        StoredClips(store, rows, run.config.frames, run.config.bodies) for rows in (labelled.train, labelled.test)
    )
    parts: list[EvaluationPart] = []
    inputs = EvaluationInputs(
        request=request,
        labelled=labelled,
        sides=Sides(
            train=train,
            train_labels=torch.from_numpy(labelled.train_labels),
            test=test,
            test_labels=torch.from_numpy(labelled.test_labels),
            classes=len(labelled.classes),
        ),
        encoder=encoder,
        untrained=build_run_encoder(run, fast=request.fast).to(request.device),
        lineage=lineage.lineage(run, store, split, labelled, checkpoint, request.device),
        progress=lambda message: progress(f"{_position(parts)}{message}"),
    )
    parts += build_parts(inputs, subsets)
    if any(part.files.missing for part in parts):
        progress("verifying the store")
        store.check()
    _train_parts([part for part in parts if part.trains_encoder])
    _score_frozen_parts([part for part in parts if not part.trains_encoder])
    results = {part.key: part.result() for part in parts}
    newest, _ = newest_results(read_results(run)[0])
    names = {result.short_name: result.name for result in newest}
    return {part.key: {**results[part.key], "newest": names[part.files.short_name]} for part in parts}


def _position(parts: Sequence[EvaluationPart]) -> str:
    """Return `2 of 7: `, the number of the row that is being computed; empty before the first."""
    rows = sum(len(part.files.requested) for part in parts)
    missing = sum(len(part.files.missing) for part in parts)
    return f"{rows - missing + 1} of {rows}: " if missing else ""


def _train_parts(parts: Sequence[EvaluationPart]) -> None:
    """Fine-tune with all labels, or with each stored draw of a fraction of them; also from scratch if requested."""
    if not any(part.files.missing for part in parts):
        return
    inputs = parts[0].inputs
    inputs.progress("loading test clips")
    sides = replace(inputs.sides, test=hold(inputs.sides.test))
    for part in parts:
        if part.files.missing:
            (_semi_supervised if part.draws else _finetune)(part, sides)
            part.result()


def _finetune(part: EvaluationPart, sides: Sides) -> None:
    """Fine-tune with all labels."""
    config = part.inputs.request.settings
    part.inputs.progress("loading training clips")
    sides = replace(sides, train=hold(part.inputs.sides.train))
    for name in part.files.missing:
        trained = _train(part, name, name, sides, config.finetune)
        row = {**part.inputs.summary(trained.scores), **frozen_protocols.best_epoch_fields(trained.test_top1)}
        if name == frozen_protocols.PRETRAINED:
            layer = trained.weight, trained.bias
            part.save_classifier(name, copy_state(trained.encoder), layer, "as fine-tuning left them")
        part.files.add(name, row, {name: trained.scores})


def _semi_supervised(part: EvaluationPart, sides: Sides) -> None:
    """Fine-tune with each stored draw of a fraction of the labels."""
    request = part.inputs.request
    config = request.settings.semi_for(part.settings["fraction"])
    for name in part.files.missing:
        seeds, scores = {}, {}
        for subset in part.draws:
            positions = np.searchsorted(part.inputs.labelled.train, subset.rows)
            clips = hold(select(part.inputs.sides.train, positions))
            labels = sides.train_labels[torch.from_numpy(positions)]
            drawn = replace(sides, train=clips, train_labels=labels)
            trained = _train(part, name, f"{name}, draw {subset.seed}", drawn, config)
            seeds[str(subset.seed)] = {
                **part.inputs.summary(trained.scores),
                **frozen_protocols.best_epoch_fields(trained.test_top1),
                "subset": subset.digest,
            }
            scores[f"{name}/{subset.seed}"] = trained.scores
        part.files.add(name, {**spread([row["top1"] for row in seeds.values()]), "seeds": seeds}, scores)


def _train(part: EvaluationPart, row: str, training: str, sides: Sides, config: FinetuneConfig) -> FinetuneResult:
    inputs, request = part.inputs, part.inputs.request
    title = f"{part.key.replace('semi-', 'semi ')}, {training}"

    def report_epoch(epoch: int, epochs: int) -> None:
        if epoch % max(1, epochs // 5) == 0:
            inputs.progress(f"{title}, epoch {epoch} of {epochs}")

    state = TrainingState(
        run=request.run,
        result=part.files.name,
        settings_digest=part.files.digest,
        training=training,
        report=lambda message: inputs.progress(f"{part.key}: {message}"),
    )
    start = inputs.untrained if row == SCRATCH else inputs.encoder
    views, seed = request.run.config.augment, request.settings.seed
    with named_errors(title):
        return finetune.fit(
            start, sides, inputs.to_stream, config, views=views, seed=seed, state=state, progress=report_epoch
        )


def _score_frozen_parts(parts: Sequence[EvaluationPart]) -> None:
    """Run protocols on frozen features; with baselines, each gets a row for 1-NN on raw coordinates."""
    missing = {row for part in parts for row in part.files.missing}
    if not missing:
        return
    inputs = parts[0].inputs
    request, sides = inputs.request, inputs.sides
    rows = [row for row in frozen_protocols.ROWS if row in missing and row != frozen_protocols.RAW_COORDINATES]
    for data in frozen_protocols.extract_representations(
        request.run, inputs.encoder, inputs.untrained, sides, rows, request.settings, inputs.progress
    ):
        for part in parts:
            if data.name in part.files.missing:
                _score_representation(part, data)
    with_raw = [part for part in parts if frozen_protocols.RAW_COORDINATES in part.files.missing]
    if with_raw:
        inputs.progress("1-NN on raw coordinates")
        scores = classify_raw_coordinates(sides, inputs.to_stream)
        row = {"classifier": "nearest neighbour, Euclidean", **inputs.summary(scores)}
        for part in with_raw:
            part.files.add(frozen_protocols.RAW_COORDINATES, row, {})


def _score_representation(part: EvaluationPart, data: frozen_protocols.Representation) -> None:
    """Run one protocol on the features of one row."""
    inputs, title = part.inputs, f"{part.protocol}, {data.name}"
    inputs.progress(title)
    with named_errors(title):
        protocol = cast("FrozenProtocol", part.protocol)
        scored = frozen_protocols.score_protocol(protocol, data, inputs.sides, inputs.request.settings)
    if scored.layer and data.name in frozen_protocols.STATISTICS:
        part.save_classifier(data.name, data.state, scored.layer, frozen_protocols.STATISTICS[data.name])
    part.files.add(data.name, {**inputs.summary(scored.scores), **scored.more}, {data.name: scored.scores})
