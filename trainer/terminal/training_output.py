"""Terminal output of pretrain, embed, predict, import-weights, export of a run, and config show."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from pipeline.errors import RawFileError
from pipeline.sources.class_title import class_title
from trainer.config import layers
from trainer.inference.onnx_export import OnnxExportResult
from trainer.inference.predict import Prediction, PredictResult
from trainer.pretrain.pretrain import PretrainProgress, PretrainResult
from trainer.runs.effective_config import EffectiveConfig
from trainer.runs.imported.import_weights import ImportResult
from trainer.terminal.console import FIRST_RUN_NOTE, ProgressBar, count_noun, format_duration, table_width

MIN_WIDTH_FOR_ALTERNATIVES = 80
"""Width of a terminal that has room for the second and further predicted classes."""
MIN_WIDTH_FOR_DESCRIPTIONS = 110
"""Width of a terminal that has room for descriptions of settings."""
MEASURED_STEPS = 3
"""Steps after which the expected time is printed; the first step is slower than the others."""


class TrainingBar(ProgressBar):
    """Progress of a pre-training; prints the expected time once some steps were measured.

    It is not in console.py, because its argument comes from a module that imports torch.
    """

    def __init__(self, *, shown: bool = True) -> None:
        super().__init__("pretrain", FIRST_RUN_NOTE, shown=shown)
        self._first_step: int | None = None

    def show_training(self, progress: PretrainProgress) -> None:
        """Show the progress of a training."""
        if self._first_step is None:
            self._first_step = progress.step - 1
        terms = ", ".join(f"{name} {value:.2f}" for name, value in progress.loss.items() if name != "total")
        epoch = f"epoch {progress.epoch + 1}/{progress.epochs}"
        rate = f"{progress.samples_per_second:.0f} samples/s"
        note = f"{epoch}  {rate}  loss {progress.loss['total']:.2f} ({terms})"
        self.update(progress.step, progress.total_steps, note)
        if progress.held_out_knn is not None:
            self.print_line(f"{epoch}: kNN accuracy on the held-out clips {progress.held_out_knn:.1f} %")
        if progress.step == self._first_step + MEASURED_STEPS:
            remaining = (progress.total_steps - self._first_step) * progress.batch_size / progress.samples_per_second
            self.print_line(f"{rate}: about {format_duration(remaining)} for {count_noun(progress.epochs, 'epoch')}")


def pretrain_summary(result: PretrainResult) -> list[str]:
    """Summarise a pre-training in lines."""
    run = result.run
    lines, best = list(result.skipped), []
    if result.best is not None:
        score = f"kNN accuracy on the held-out clips {result.best['held_out_knn']:.1f} %"
        best.append(
            f"best checkpoint: epoch {result.best['epoch'] + 1}, {score}; eval and embed use it with --checkpoint best"
        )
    if result.outcome == "up to date":
        return [*lines, f"{run.path}: up to date, trained to step {run.total_steps}", *best]
    steps = f"{count_noun(result.steps, 'step')} in {format_duration(result.seconds)} on {result.device}"
    lines.append(f"{run.path}: {result.outcome}, {steps}")
    lines.append(
        f"{result.samples_per_second:.0f} samples/s, mean loss of the last epoch {result.last_loss:.3f}; "
        "`eval` measures how good the encoder is"
    )
    return lines + best


def pretrain_json(result: PretrainResult) -> dict[str, Any]:
    """Return the result of a pre-training as plain data."""
    run = result.run
    return {
        "outcome": result.outcome,
        "run": run.path,
        "preset": run.preset,
        "config": run.config.model_dump(mode="json"),
        "lineage": run.lineage,
        "device": result.device,
        "steps": result.steps,
        "total_steps": run.total_steps,
        "seconds": result.seconds,
        "samples_per_second": result.samples_per_second,
        "first_loss": result.first_loss,
        "last_loss": result.last_loss,
        "best": result.best,
        "skipped": result.skipped,
    }


def predictions_table(result: PredictResult) -> Table:
    """Build a table with each clip's most probable class, its probability, and in a wide terminal the next classes."""
    has_clip_names = any(answer.clip != Path(answer.file).stem for answer in result.answers)
    has_windows = any(answer.start is not None for answer in result.answers)
    is_narrow = table_width() < MIN_WIDTH_FOR_ALTERNATIVES
    names_suffice = len({Path(answer.file).name for answer in result.answers}) == len(result.answers)
    table = Table(box=None, pad_edge=False)
    table.add_column("file", overflow="fold")
    if has_clip_names:
        table.add_column("seconds" if has_windows else "clip", overflow="fold")
    table.add_column("class", overflow="fold")
    table.add_column("probability", justify="right", no_wrap=True)
    if not is_narrow:
        table.add_column("next", overflow="fold")
    for answer in result.answers:
        first, *others = answer.top
        file = Path(answer.file).name if is_narrow and names_suffice else answer.file
        clip = f"{answer.start:.1f} to {answer.end:.1f}" if has_windows else answer.clip
        cells = [file, *([clip] if has_clip_names else []), _format_class(first), f"{first.probability:.3f}"]
        if not is_narrow:
            cells.append(", ".join(f"{_format_class(other)} {other.probability:.3f}" for other in others))
        table.add_row(*map(Text, cells))  # Text, because rich would read square brackets in a str as markup
    return table


def predictions_notes(result: PredictResult) -> list[str]:
    """Describe the classifier that was used, and the recordings that could not be used, in lines."""
    used = result.classifier
    store, split, checkpoint = used["store"], used["split"], used["checkpoint"]
    return [
        f"classifier {used['name']} of {result.run}: {used['representation']}, step {checkpoint['step']}, trained on "
        f"{split['train']} clips of {store['name']} {split['name']}, recipe {used['recipe']}",
        *result.notes,
        *(f"ignored, {what}: {count}" for what, count in sorted(result.left_out.items())),
        *(str(RawFileError(bad["file"], bad["line"], bad["reason"])) for bad in result.refused),
    ]


def _format_class(prediction: Prediction) -> str:
    return class_title(prediction.label, prediction.name)


def describe_checkpoint(checkpoint: Mapping[str, Any]) -> str:
    """Return how many steps a checkpoint was trained, or where its weights were imported from."""
    if checkpoint.get("imported"):
        return f"weights imported from {checkpoint['imported']}"
    return f"step {checkpoint['step']} of {checkpoint['total_steps']}"


def embed_lines(found: Mapping[str, Any]) -> list[str]:
    """Summarise the features that were written, in lines."""
    return [
        *found["checkpoint"]["skipped"],
        f"{found['out']}: {found['layer']} features of {found['clips']} clips, {found['dimensions']} dimensions",
        describe_checkpoint(found["checkpoint"]),
    ]


def onnx_lines(result: OnnxExportResult) -> list[str]:
    """Summarise the export of a run in lines."""
    scores = f" and scores (N, {result.classes}) of {result.classifier}" if result.classes else ""
    difference = max(result.differences.values())
    return [
        *result.checkpoint.get("skipped", []),
        f"{result.out}: clips (N, 3, T, {result.joints}, M) to features (N, {result.dimensions}){scores}, "
        f"opset {result.opset}, {result.bytes / 1e6:,.1f} MB",
        f"{describe_checkpoint(result.checkpoint)}, {result.layer}; differs from torch by at most {difference:.0e} of "
        "the largest value",
    ]


def import_summary(result: ImportResult) -> list[str]:
    """Summarise an import of weights in lines."""
    run = result.run
    if run.imported is None:
        raise ValueError(f"{run.path} was not imported")
    config, keys = run.config, run.imported["keys"]
    pair = "key encoder and queue" if run.imported["holds"] == "pair" else "without key encoder and queue"
    return [
        f"{run.path}: {result.outcome}, {keys['taken']} keys of {run.imported['file']} ({run.imported['source']})",
        f"{config.stream} stream, {config.encoder.hidden_channels} channels, {config.encoder.hidden_dim} features, "
        f"graph {config.encoder.graph}, {pair}; recipe {config.recipe}, {config.frames} frames",
        *result.notes,
    ]


def import_json(result: ImportResult) -> dict[str, Any]:
    """Return the result of an import of weights as plain data."""
    run = result.run
    return {
        "outcome": result.outcome,
        "run": run.path,
        "config": run.config.model_dump(mode="json"),
        "lineage": run.lineage,
        "notes": result.notes,
    }


def config_table(shown: EffectiveConfig) -> Table:
    """Build a table of every value of a configuration and its origin; in a wide terminal also its description."""
    table = Table(title=Text(shown.of), title_justify="left", box=None, pad_edge=False)
    for head in ("key", "value", "origin"):
        table.add_column(head, overflow="fold", no_wrap=head == "key")
    is_wide = table_width() >= MIN_WIDTH_FOR_DESCRIPTIONS
    if is_wide:
        table.add_column("description", ratio=1)
    for value in shown.values:
        text = json.dumps(value.value, ensure_ascii=False) if not isinstance(value.value, str) else value.value
        style = "" if value.origin == layers.DEFAULT_ORIGIN else "bold"
        cells = [Text(value.key, style), Text("-" if value.value is None else text, style), Text(value.origin, style)]
        first_sentence = re.split(r"\.(?= [A-Z]|$)", value.about, maxsplit=1)[0]
        table.add_row(*cells, *([Text(first_sentence)] if is_wide else []))
    return table
