"""Predict classes for new recordings with a run's recipe, encoder and classifier (`skelepipe predict`)."""

import csv
import io
import json
from collections import Counter
from collections.abc import Callable
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
from pipeline.files.spreadsheet import escape_cell
from pipeline.files.text_paths import request_with_text_paths
from pipeline.recipes.clips import process_recording
from pipeline.recipes.recipe import recipe_from_plain
from pipeline.recipes.steps.resample import resized
from pipeline.skeleton.frame_rate import FRAMES_PER_SECOND
from pipeline.sources.source import Entry, Reading, Refusal
from pipeline.sources.unlabelled import find_recordings
from pipeline.sources.windows import WindowReader, Windows
from pipeline.store.batches import pad_clip
from trainer.evaluation import features
from trainer.runs import checkpoint
from trainer.runs.classifier import Classifier, choose_classifier, load_classifier
from trainer.runs.run import Run
from trainer.runtime.device import choose_device

MAX_LISTED_REASONS = 3
"""Unusable recordings that an error message lists."""


@request_with_text_paths
@dataclass(frozen=True, kw_only=True, slots=True)
class PredictRequest:
    """What to predict."""

    run: Run
    roots: tuple[Path, ...]
    device: torch.device = field(default_factory=choose_device)
    classifier: str | None = None
    """Name of the classifier; None: the newest one that is not recalibrated."""
    skeleton: Path | None = None
    """The `skeleton.toml` for arrays that are in no manifest.csv; None: the nearest one."""
    top: int = 5
    output: Path | None = None
    """Also write the predictions to this file: .csv, or .jsonl with one JSON object per line."""
    windows: Windows | None = None
    """Predict a class for each window of a recording instead of one for the whole recording."""
    fast: bool = True
    """Use the fast implementation of the encoder (models/fast/); results differ by rounding only."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """A class and its probability."""

    label: int
    """The class id of the data set, from 0."""
    name: str
    """Empty if the data set has no class names."""
    probability: float


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordingPredictions:
    """The predicted classes of one clip."""

    file: str
    clip: str
    """The clip's name, which identifies it if a file has several clips."""
    frames: int
    """Frames after the recipe."""
    top: tuple[Prediction, ...]
    """Most probable first; ties by class id."""
    start: float | None = None
    """With windows: seconds from the start of the recording to that of the window."""
    end: float | None = None
    """With windows: seconds from the start of the recording to the end of the window."""


@dataclass(kw_only=True, slots=True)
class PredictResult:
    """All predictions."""

    run: str
    classifier: dict[str, Any]
    """name, protocol, representation, batch_norm, dataset, recipe, store, split and checkpoint."""
    answers: list[RecordingPredictions]
    refused: list[dict[str, Any]]
    """name, file, line (0 if none) and reason for each recording or clip that could not be used."""
    left_out: dict[str, int]
    notes: list[str] = field(default_factory=list)
    scores: Tensor = field(default_factory=lambda: torch.empty(0), repr=False)
    """(answers, classes), computed as in the evaluation."""


def predict(request: PredictRequest, progress: Callable[[int, int], None] = lambda done, total: None) -> PredictResult:
    """Classify every recording in some files and folders.

    Args:
        request: what to predict.
        progress: called with the number of finished recordings and their total.

    Raises:
        ArtifactNotFound: the run has no such classifier, or a file or folder does not exist.
        ArtifactError: the classifier is damaged, or a folder has recordings of another skeleton layout.
        SkelepipeError: none of the recordings can be used.
        OutputLocked: another process is writing the .csv.
        OutputFailed: the disk reports an error.
    """
    with sole_file_writer(request.output) if request.output else nullcontext():
        result = _predict(request, progress)
        if request.output:
            write = _write_json_lines if request.output.suffix.lower() == ".jsonl" else _write_csv
            write(result, request.output)
    return result


def _predict(request: PredictRequest, progress: Callable[[int, int], None]) -> PredictResult:
    run = request.run
    classifier = load_classifier(run, choose_classifier(run, request.classifier), request.device, fast=request.fast)
    steps = recipe_from_plain(classifier.facts["recipe"], f"classifier {classifier.name} of {run.path}")
    found = find_recordings(request.roots, run.layout, request.skeleton)
    refused, clips = list(found.refused), list[tuple[Entry, Reading, int]]()
    left_out = Counter(found.left_out)
    batch, vectors = list[NDArray[np.float32]](), list[Tensor]()

    def encode_batch() -> None:
        if batch:
            positions = torch.from_numpy(np.stack(batch))
            vectors.append(features.extract_positions(classifier.encoder, positions, run))
            batch.clear()

    for done, (reader, entry) in enumerate(found.entries, start=1):
        windows = WindowReader(reader, request.windows) if request.windows else None
        for outcome in process_recording(entry, windows or reader, steps):
            if isinstance(outcome, Refusal):
                if windows and outcome.name in windows.names:
                    left_out[f"windows without a prediction ({outcome.reason})"] += 1
                else:
                    refused.append(outcome)
                continue
            reading, clip = outcome
            clips.append((entry, reading, clip.xyz.shape[1]))
            batch.append(resize_and_pad(clip.xyz, run))
            if len(batch) == features.MAX_BATCH_CLIPS:
                encode_batch()
        progress(done, len(found.entries))
    encode_batch()
    # One matrix product over all clips, as in the evaluation; products of blocks may round differently.
    scores = classifier.scores(torch.cat(vectors)) if vectors else torch.empty(0, len(classifier.classes))
    finite = scores.isfinite().all(dim=1)
    for (entry, reading, _), is_finite in zip(clips, finite.tolist(), strict=True):
        if not is_finite:
            reason = "the encoder's output is not finite: its weights or the coordinates are too large"
            refused.append(Refusal(name=reading.recording.name, file=entry.file, line=0, reason=reason))
    clips = [clip for clip, is_finite in zip(clips, finite.tolist(), strict=True) if is_finite]
    if not clips:
        reasons = [str(RawFileError(str(bad.file), bad.line, bad.reason)) for bad in refused]
        reasons += [f"{reason}: {count}" for reason, count in left_out.items() if not refused]
        more = len(reasons) - MAX_LISTED_REASONS
        raise SkelepipeError(
            "; ".join(reasons[:MAX_LISTED_REASONS]) + (f"; and {more} more: none can be used" if more > 0 else "")
        )
    return PredictResult(
        run=run.path.as_posix(),
        classifier=_classifier_to_json(classifier),
        answers=[
            RecordingPredictions(
                file=str(entry.file),
                clip=reading.recording.name,
                frames=frames,
                top=top,
                start=reading.start / FRAMES_PER_SECOND if request.windows else None,
                end=(reading.start + reading.recording.frames) / FRAMES_PER_SECOND if request.windows else None,
            )
            for (entry, reading, frames), top in zip(
                clips, most_probable(classifier, scores[finite], request.top), strict=True
            )
        ],
        refused=[{"name": bad.name, "file": str(bad.file), "line": bad.line, "reason": bad.reason} for bad in refused],
        left_out=dict(left_out),
        notes=_notes(run, classifier),
        scores=scores[finite],
    )


def to_json(result: PredictResult) -> dict[str, Any]:
    """Convert a result to plain data for `--json`."""
    return {
        "run": result.run,
        "classifier": result.classifier,
        "predictions": [_to_plain(answer) for answer in result.answers],
        "refused": result.refused,
        "left_out": result.left_out,
        "notes": result.notes,
    }


def _to_plain(answer: RecordingPredictions) -> dict[str, Any]:
    """Convert an answer to plain data; only windows have start and end."""
    return {name: value for name, value in asdict(answer).items() if value is not None}


def _write_json_lines(result: PredictResult, path: Path) -> None:
    """Write one JSON object for each clip, with the keys of `--json`."""
    write_file(path, "".join(f"{json.dumps(_to_plain(answer))}\n" for answer in result.answers).encode())


def _write_csv(result: PredictResult, path: Path) -> None:
    """Write one line for each clip: file, clip, frames, then class, name and probability of the top classes.

    With windows, start and end in seconds come before the frames.
    """
    has_windows = any(answer.start is not None for answer in result.answers)
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    suffixes = ["", *(f"_{rank}" for rank in range(2, len(result.answers[0].top) + 1))]
    columns = [f"{name}{suffix}" for suffix in suffixes for name in ("class", "name", "probability")]
    lines.writerow(["file", "clip", *(["start", "end"] if has_windows else []), "frames", *columns])
    for answer in result.answers:
        row = [value for top in answer.top for value in (top.label, escape_cell(top.name), repr(top.probability))]
        span = [f"{answer.start:.3f}", f"{answer.end:.3f}"] if has_windows else []
        lines.writerow([escape_cell(answer.file), escape_cell(answer.clip), *span, answer.frames, *row])
    write_file(path, text.getvalue().encode())


def resize_and_pad(clip: NDArray[np.float32], run: Run) -> NDArray[np.float32]:
    """Convert a clip (M', T', V, 3), NaN where missing, to the loader's form: (3, T, V, M), missing is 0."""
    return pad_clip(resized(clip, run.config.frames), run.config.frames, run.config.bodies)


def most_probable(classifier: Classifier, scores: Tensor, top: int) -> list[tuple[Prediction, ...]]:
    """The `top` most probable classes for each row of scores."""
    probabilities = scores.double().softmax(dim=1)
    order = probabilities.argsort(dim=1, descending=True, stable=True)[:, :top]
    return [
        tuple(
            Prediction(label=classifier.classes[column], name=classifier.names[column], probability=float(row[column]))
            for column in columns
        )
        for row, columns in zip(probabilities, order.tolist(), strict=True)
    ]


def _classifier_to_json(classifier: Classifier) -> dict[str, Any]:
    facts, lineage = classifier.facts, classifier.facts["lineage"]
    return {
        "name": classifier.name,
        **{key: facts[key] for key in ("protocol", "representation", "batch_norm", "dataset")},
        "recipe": facts["recipe"]["name"],
        **{key: lineage[key] for key in ("store", "split", "checkpoint")},
    }


def _notes(run: Run, classifier: Classifier) -> list[str]:
    """A note if the run has a checkpoint newer than the classifier."""
    used = Path(classifier.facts["lineage"]["checkpoint"]["path"]).name
    newest = [path.name for path in checkpoint.list_checkpoints(run.checkpoints)][-1:]
    if newest and newest[0] > used:
        return [f"classifier {classifier.name} belongs to {used}, but the run's newest checkpoint is {newest[0]}"]
    return []
