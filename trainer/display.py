"""What the terminal shows of training and evaluation."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from pipeline.display import Bar, duration
from trainer import import_weights, pretrain

MEASURED_STEPS = 3
"""Steps after which the expected time is said: the first is slower than the others."""


class TrainingBar(Bar):
    """Progress of a pre-training, with the expected time said once it is known."""

    def __init__(self) -> None:
        super().__init__("pretrain")
        self._first: int | None = None

    def show(self, tick: pretrain.Tick) -> None:
        """Show a training's progress."""
        if self._first is None:
            self._first = tick.step - 1
        terms = ", ".join(f"{name} {value:.2f}" for name, value in tick.loss.items() if name != "total")
        where = f"epoch {tick.epoch + 1}/{tick.epochs}"
        note = f"{where}  {tick.samples_per_second:.0f} samples/s  loss {tick.loss['total']:.2f} ({terms})"
        self.update(tick.step, tick.total_steps, note)
        if tick.step == self._first + MEASURED_STEPS:
            left = (tick.total_steps - self._first) * tick.batch_size / tick.samples_per_second
            self.say(f"{tick.samples_per_second:.0f} samples/s: about {duration(left)} for {tick.epochs} epochs")


def pretrain_summary(report: pretrain.Report) -> list[str]:
    """What a pre-training did, in lines."""
    run = report.run
    lines = list(report.skipped)
    if report.outcome == "up to date":
        return [*lines, f"{run.path}: up to date, trained to step {run.total_steps}"]
    lines.append(f"{run.path}: {report.outcome}, {report.steps} steps in {duration(report.seconds)} on {report.device}")
    lines.append(
        f"{report.samples_per_second:.0f} samples/s, mean loss of the first epoch {report.first_loss:.3f}, "
        f"of the last {report.last_loss:.3f}"
    )
    return lines


def pretrain_json(report: pretrain.Report) -> dict[str, Any]:
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
        "skipped": report.skipped,
    }


def trained(checkpoint: Mapping[str, Any]) -> str:
    """How far the weights of a checkpoint were trained."""
    if checkpoint.get("imported"):
        return f"weights imported from {checkpoint['imported']}"
    return f"step {checkpoint['step']} of {checkpoint['total_steps']}"


def import_summary(report: import_weights.Report) -> list[str]:
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


def import_json(report: import_weights.Report) -> dict[str, Any]:
    """What an import did, as plain data."""
    run = report.run
    return {
        "outcome": report.outcome,
        "run": run.path,
        "config": run.config.model_dump(mode="json"),
        "lineage": run.lineage,
        "notes": report.notes,
    }


def results_table(results: Mapping[str, Mapping[str, Any]]) -> Table:
    """All protocols of one run side by side: a row per representation, top-1 with its 95 % interval."""
    first = next(iter(results.values()))
    lineage = first["lineage"]
    title = f"{lineage['run']['path']} on {lineage['store']['name']} {lineage['split']['name']}, top-1 %"
    table = Table(title=title, title_justify="left")
    table.add_column("representation")
    for protocol in results:
        table.add_column(protocol, justify="right", no_wrap=True)
    for name in first["rows"]:
        table.add_row(name, *(_cell(result["rows"][name]) for result in results.values()))
    if any(result["published"] for result in results.values()):
        table.add_row("published", *(_published(result["published"]) for result in results.values()), style="dim")
    return table


def results_notes(results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What a reader of the table must know, in lines."""
    lineage = next(iter(results.values()))["lineage"]
    split, checkpoint = lineage["split"], lineage["checkpoint"]
    lines = [
        *checkpoint["skipped"],
        f"{split['test']} test clips, {split['train']} training clips; {trained(checkpoint)}; brackets: 95 % interval",
    ]
    if checkpoint.get("imported"):
        lines.append("imported weights do not say which clips they were pre-trained on: test clips may be among them")
    if lineage["test_clips_pretrained_on"]:
        lines.append(
            f"{lineage['test_clips_pretrained_on']} of the test clips were pre-trained on, without their labels: "
            "this is another split than the run's"
        )
    if "linear" in results:
        best = results["linear"]["rows"]["pre-trained"]["best_epoch"]
        lines.append(
            f"linear is the last epoch; the best of {results['linear']['settings']['epochs']} on the test set was "
            f"{best['top1']:.1f} (epoch {best['epoch']}), which is what most papers report"
        )
    lines.append("raw coordinates: nearest neighbour by Euclidean distance, whatever the column")
    return lines + [f"written: {result['written']}" for result in results.values()]


def _cell(row: Mapping[str, Any]) -> str:
    low, high = row["interval95"]
    return f"{row['top1']:.1f} [{low:.1f}, {high:.1f}]"


def _published(published: Mapping[str, Any] | None) -> str:
    return "" if published is None else f"{published['top1']:.1f}"
