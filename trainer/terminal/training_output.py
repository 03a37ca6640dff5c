"""What the terminal shows of trainings, and of what is made of the encoders that they leave."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from pipeline.errors import RawFileError
from trainer.config import layers
from trainer.inference.onnx_export import OnnxExportResult
from trainer.inference.predict import Prediction, PredictResult
from trainer.pretrain.pretrain import PretrainProgress, PretrainResult
from trainer.runs.effective_config import EffectiveConfig
from trainer.runs.imported.import_weights import ImportResult
from trainer.terminal.console import FIRST_RUN_NOTE, ProgressBar, columns, format_duration

WITH_THEN = 80
"""Columns of a terminal in which there is room for what a clip may be besides."""
WITH_WORDS = 110
"""Columns of a terminal in which there is room for what a setting is for."""


def pretrain_summary(report: PretrainResult) -> list[str]:
    """What a pre-training did, in lines."""
    run = report.run
    lines, best = list(report.skipped), []
    if report.best is not None:
        score = f"{report.best['held_out_knn']:.1f} % of the held-out clips by kNN"
        best.append(
            f"best checkpoint: epoch {report.best['epoch'] + 1}, {score}; eval and embed take --checkpoint best"
        )
    if report.outcome == "up to date":
        return [*lines, f"{run.path}: up to date, trained to step {run.total_steps}", *best]
    lines.append(
        f"{run.path}: {report.outcome}, {plural(report.steps, 'step')} in {format_duration(report.seconds)} on {report.device}"
    )
    lines.append(
        f"{report.samples_per_second:.0f} samples/s, mean loss of the first epoch {report.first_loss:.3f}, "
        f"of the last {report.last_loss:.3f}"
    )
    return lines + best


def pretrain_json(report: PretrainResult) -> dict[str, Any]:
    """What a pre-training did, as plain data."""
    run = report.run
    return {
        "outcome": report.outcome,
        "run": run.path,
        "preset": run.preset,
        "config": run.config.model_dump(mode="json"),
        "lineage": run.lineage,
        "device": report.device,
        "steps": report.steps,
        "total_steps": run.total_steps,
        "seconds": report.seconds,
        "samples_per_second": report.samples_per_second,
        "first_loss": report.first_loss,
        "last_loss": report.last_loss,
        "best": report.best,
        "skipped": report.skipped,
    }


def predictions_table(report: PredictResult) -> Table:
    """What each clip is taken for: the likeliest class with its probability, then the next ones."""
    several = any(answer.clip != Path(answer.file).stem for answer in report.answers)
    narrow = columns() < WITH_THEN
    short = narrow and len({Path(answer.file).name for answer in report.answers}) == len(report.answers)
    table = Table(box=None, pad_edge=False)
    table.add_column("file", overflow="fold")
    if several:
        table.add_column("clip", overflow="fold")
    table.add_column("class", overflow="fold")
    table.add_column("probability", justify="right", no_wrap=True)
    if not narrow:
        table.add_column("then", overflow="fold")
    for answer in report.answers:
        first, *others = answer.top
        file = Path(answer.file).name if short else answer.file
        cells = [file, *([answer.clip] if several else []), _class(first), f"{first.probability:.3f}"]
        then = ", ".join(f"{_class(guess)} {guess.probability:.3f}" for guess in others)
        table.add_row(*map(Text, [*cells, *([] if narrow else [then])]))  # Text, since names may hold square brackets
    return table


def predictions_notes(report: PredictResult) -> list[str]:
    """Which classifier answered, and what could not be asked, in lines."""
    by = report.classifier
    store, split, checkpoint = by["store"], by["split"], by["checkpoint"]
    return [
        f"classifier {by['name']} of {report.run}: {by['representation']}, step {checkpoint['step']}, fitted to "
        f"{split['train']} clips of {store['name']} {split['name']}, recipe {by['recipe']}",
        *report.notes,
        *(f"left out, {what}: {count}" for what, count in sorted(report.left_out.items())),
        *(str(RawFileError(bad["file"], bad["line"], bad["reason"])) for bad in report.refused),
    ]


def _class(guess: Prediction) -> str:
    return f"{guess.label} {guess.name}".rstrip()


def trained(checkpoint: Mapping[str, Any]) -> str:
    """How far the weights of a checkpoint were trained."""
    if checkpoint.get("imported"):
        return f"weights imported from {checkpoint['imported']}"
    return f"step {checkpoint['step']} of {checkpoint['total_steps']}"


def embed_lines(found: Mapping[str, Any]) -> list[str]:
    """What was written of a run's features, in lines."""
    return [
        *found["checkpoint"]["skipped"],
        f"{found['out']}: {found['layer']} features of {found['clips']} clips, {found['dimensions']} dimensions",
        trained(found["checkpoint"]),
    ]


def onnx_lines(report: OnnxExportResult) -> list[str]:
    """What was exported of a run, in lines."""
    scores = f" and scores (N, {report.classes}) of {report.classifier}" if report.classes else ""
    worst = max(report.differences.values())
    return [
        *report.checkpoint.get("skipped", []),
        f"{report.out}: clips (N, 3, T, {report.joints}, M) to features (N, {report.dimensions}){scores}, "
        f"opset {report.opset}, {report.bytes / 1e6:,.1f} MB",
        f"{trained(report.checkpoint)}, {report.layer}; differs from torch by at most {worst:.0e} of the largest",
    ]


def import_summary(report: ImportResult) -> list[str]:
    """What an import did, in lines."""
    run = report.run
    if run.imported is None:
        raise ValueError(f"{run.path} was not imported")
    config, keys = run.config, run.imported["keys"]
    held = "key encoder and queue" if run.imported["holds"] == "pair" else "without key encoder and queue"
    return [
        f"{run.path}: {report.outcome}, {keys['taken']} keys of {run.imported['file']} ({run.imported['source']})",
        f"{config.stream} stream, {config.encoder.hidden_channels} channels, {config.encoder.hidden_dim} features, "
        f"graph {config.encoder.graph}, {held}; recipe {config.recipe}, {config.frames} frames",
        *report.notes,
    ]


def import_json(report: ImportResult) -> dict[str, Any]:
    """What an import did, as plain data."""
    run = report.run
    return {
        "outcome": report.outcome,
        "run": run.path,
        "config": run.config.model_dump(mode="json"),
        "lineage": run.lineage,
        "notes": report.notes,
    }


def config_table(shown: EffectiveConfig) -> Table:
    """Every value of a configuration with its origin; in a wide terminal also what it is for."""
    table = Table(title=Text(shown.of), title_justify="left", box=None, pad_edge=False)
    for head in ("key", "value", "origin"):
        table.add_column(head, overflow="fold", no_wrap=head == "key")
    wide = columns() >= WITH_WORDS
    if wide:
        table.add_column("what it is", ratio=1)
    for value in shown.values:
        told = json.dumps(value.value, ensure_ascii=False) if not isinstance(value.value, str) else value.value
        style = "" if value.origin == layers.DEFAULT_ORIGIN else "bold"
        cells = [Text(value.key, style), Text("-" if value.value is None else told, style), Text(value.origin, style)]
        table.add_row(*cells, *([Text(re.split(r"\.(?= [A-Z]|$)", value.about, maxsplit=1)[0])] if wide else []))
    return table


def plural(number: int, what: str) -> str:
    """`1 step`, `2 steps`."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


MEASURED_STEPS = 3
"""Steps after which the expected time is said: the first is slower than the others."""


class TrainingBar(ProgressBar):
    """Progress of a pre-training, with the expected time said once it is known."""

    def __init__(self, *, shown: bool = True) -> None:
        super().__init__("pretrain", FIRST_RUN_NOTE, shown=shown)
        self._first: int | None = None

    def show(self, tick: PretrainProgress) -> None:
        """Show a training's progress."""
        if self._first is None:
            self._first = tick.step - 1
        terms = ", ".join(f"{name} {value:.2f}" for name, value in tick.loss.items() if name != "total")
        where = f"epoch {tick.epoch + 1}/{tick.epochs}"
        note = f"{where}  {tick.samples_per_second:.0f} samples/s  loss {tick.loss['total']:.2f} ({terms})"
        self.update(tick.step, tick.total_steps, note)
        if tick.held_out_knn is not None:
            self.say(f"{where}: {tick.held_out_knn:.1f} % of the held-out clips by kNN")
        if tick.step == self._first + MEASURED_STEPS:
            left = (tick.total_steps - self._first) * tick.batch_size / tick.samples_per_second
            self.say(f"{tick.samples_per_second:.0f} samples/s: about {format_duration(left)} for {tick.epochs} epochs")
