"""Classes for new recordings: the recipe of the store, the encoder and the classifier of an evaluation, in memory."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.errors import RawFileError, SkelepipeError
from pipeline.files.atomic import sole_file_writer, write_file
from pipeline.recipes.clips import process_recording
from pipeline.recipes.recipe import recipe_from_plain
from pipeline.recipes.steps.resample import resized
from pipeline.sources.source import Entry, Refusal
from pipeline.sources.unlabelled import find_recordings
from pipeline.store.batches import pad_clip
from trainer.evaluation import features
from trainer.runs import checkpoint
from trainer.runs.classifier import Classifier, choose_classifier, load_classifier
from trainer.runs.run import Run
from trainer.runtime.device import choose_device

SHOWN = 3
"""Refusals in an error's text."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictRequest:
    """What the user asks."""

    run: Run
    roots: tuple[Path, ...]
    device: torch.device = field(default_factory=choose_device)
    classifier: str | None = None
    """Name of the classifier; None: the newest that is not recalibrated."""
    skeleton: Path | None = None
    """The `skeleton.toml` for arrays that no manifest names; None: the nearest."""
    top: int = 5
    output: Path | None = None
    """A .csv to write, besides."""
    fast: bool = True
    """Encode in less time, equal but for rounding: by trainer/models/fast/cpu.py, on a GPU by trainer/models/fast/gpu.py."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """A class and how likely it is."""

    label: int
    """The data set's own id, from 0."""
    name: str
    """Empty where the data set gives none."""
    probability: float


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordingPredictions:
    """What one clip is taken for."""

    file: str
    clip: str
    """The clip's name: of several in a file it says which."""
    frames: int
    """After the recipe."""
    top: tuple[Prediction, ...]
    """The likeliest first; of equally likely ones that with the smaller id."""


@dataclass(kw_only=True, slots=True)
class PredictResult:
    """What a prediction found."""

    run: str
    classifier: dict[str, Any]
    """name, protocol, representation, batch_norm, dataset, recipe, store, split and checkpoint."""
    answers: list[RecordingPredictions]
    refused: list[dict[str, Any]]
    """name, file, line (0 when none) and reason of what could not be used."""
    left_out: dict[str, int]
    notes: list[str] = field(default_factory=list)
    scores: Tensor = field(default_factory=lambda: torch.empty(0), repr=False)
    """(answers, classes), as the evaluation computes them."""


def predict(request: PredictRequest, progress: Callable[[int, int], None] = lambda done, total: None) -> PredictResult:
    """Ask a run's classifier about every recording at or below some places.

    Args:
        request: what the user asks.
        progress: is told how many of how many recordings are done.

    Raises:
        ArtifactNotFound: the run has no such classifier, or a place does not exist.
        ArtifactError: the classifier is damaged, or a folder of recordings holds another kind of skeleton.
        SkelepipeError: none of the recordings can be used.
        OutputLocked: another process is writing the .csv.
        OutputFailed: the disk refuses.
    """
    with sole_file_writer(request.output) if request.output else nullcontext():
        report = _predict(request, progress)
        if request.output:
            _write_csv(report, request.output)
    return report


def _predict(request: PredictRequest, progress: Callable[[int, int], None]) -> PredictResult:
    run = request.run
    chosen = load_classifier(run, choose_classifier(run, request.classifier), request.device, fast=request.fast)
    steps = recipe_from_plain(chosen.facts["recipe"], f"classifier {chosen.name} of {run.path}")
    found = find_recordings(request.roots, run.layout, request.skeleton)
    refused, clips = list(found.refused), list[tuple[Entry, str, int]]()
    waiting, described = list[NDArray[np.float32]](), list[Tensor]()

    def describe() -> None:
        if waiting:
            positions = torch.from_numpy(np.stack(waiting))
            described.append(features.extract_positions(chosen.encoder, positions, run))
            waiting.clear()

    for done, (reader, entry) in enumerate(found.entries, start=1):
        for given in process_recording(entry, reader, steps):
            if isinstance(given, Refusal):
                refused.append(given)
                continue
            clip = given[1]
            clips.append((entry, clip.name, clip.xyz.shape[1]))
            waiting.append(_as_loaded(clip.xyz, run))
            if len(waiting) == features.BATCH:
                describe()
        progress(done, len(found.entries))
    describe()
    # One product over all clips: over blocks of them it may round otherwise than the evaluation's.
    scores = chosen.scores(torch.cat(described)) if described else torch.empty(0, len(chosen.classes))
    finite = scores.isfinite().all(dim=1)
    for (entry, name, _), is_finite in zip(clips, finite.tolist(), strict=True):
        if not is_finite:
            reason = "its coordinates are so large that the encoder gives no number"
            refused.append(Refusal(name=name, file=entry.file, line=0, reason=reason))
    clips = [clip for clip, is_finite in zip(clips, finite.tolist(), strict=True) if is_finite]
    if not clips:
        told = [str(RawFileError(str(bad.file), bad.line, bad.reason)) for bad in refused]
        raise SkelepipeError(
            "; ".join(told[:SHOWN]) + (f"; and {len(told) - SHOWN} more: none can be used" if told[SHOWN:] else "")
        )
    return PredictResult(
        run=run.path.as_posix(),
        classifier=_described(chosen),
        answers=[
            RecordingPredictions(file=str(entry.file), clip=name, frames=frames, top=top)
            for (entry, name, frames), top in zip(clips, _ranked(chosen, scores[finite], request.top), strict=True)
        ],
        refused=[{"name": bad.name, "file": str(bad.file), "line": bad.line, "reason": bad.reason} for bad in refused],
        left_out=dict(found.left_out),
        notes=_notes(run, chosen),
        scores=scores[finite],
    )


def to_json(report: PredictResult) -> dict[str, Any]:
    """A report as plain data."""
    return {
        "run": report.run,
        "classifier": report.classifier,
        "predictions": [asdict(answer) for answer in report.answers],
        "refused": report.refused,
        "left_out": report.left_out,
        "notes": report.notes,
    }


def _write_csv(report: PredictResult, path: Path) -> None:
    """Write a line for every clip: file, clip, frames, then class, name and probability of each guess."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    guesses = [f"{what}{place}" for place in _places(report.answers) for what in ("class", "name", "probability")]
    lines.writerow(["file", "clip", "frames", *guesses])
    for answer in report.answers:
        row = [value for guess in answer.top for value in (guess.label, guess.name, repr(guess.probability))]
        lines.writerow([answer.file, answer.clip, answer.frames, *row])
    write_file(path, text.getvalue().encode())


def _places(answers: Sequence[RecordingPredictions]) -> list[str]:
    """What stands behind the columns of the first guess, the second, ...: nothing, `_2`, ..."""
    return [f"_{place}" if place > 1 else "" for place in range(1, len(answers[0].top) + 1)]


def _as_loaded(clip: NDArray[np.float32], run: Run) -> NDArray[np.float32]:
    """A clip (M', T', V, 3), NaN where missing, as a loader gives a store's: (3, T, V, M), missing is 0."""
    return pad_clip(resized(clip, run.config.frames), run.config.frames, run.config.bodies)


def _ranked(chosen: Classifier, scores: Tensor, top: int) -> list[tuple[Prediction, ...]]:
    """The likeliest classes of each row of scores."""
    probabilities = scores.double().softmax(dim=1)
    order = probabilities.argsort(dim=1, descending=True, stable=True)[:, :top]
    return [
        tuple(
            Prediction(label=chosen.classes[place], name=chosen.names[place], probability=float(row[place]))
            for place in places
        )
        for row, places in zip(probabilities, order.tolist(), strict=True)
    ]


def _described(chosen: Classifier) -> dict[str, Any]:
    facts, lineage = chosen.facts, chosen.facts["lineage"]
    kept = {key: facts[key] for key in ("protocol", "representation", "batch_norm", "dataset")}
    return {"name": chosen.name, **kept, "recipe": facts["recipe"]["name"], **_lineage(lineage)}


def _lineage(lineage: Mapping[str, Any]) -> dict[str, Any]:
    return {key: lineage[key] for key in ("store", "split", "checkpoint")}


def _notes(run: Run, chosen: Classifier) -> list[str]:
    """What there is newer than a classifier, in lines."""
    of = Path(chosen.facts["lineage"]["checkpoint"]["path"]).name
    newest = [path.name for path in checkpoint.listed(run.checkpoints)][-1:]
    if newest and newest[0] > of:
        return [f"classifier {chosen.name} is of {of}, the run's newest checkpoint is {newest[0]}"]
    return []
