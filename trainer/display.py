"""What the terminal shows of training and evaluation."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from pipeline.display import FIRST, Bar, duration
from pipeline.errors import RawFileError
from pipeline.terminal import columns
from trainer import evaluate, export_onnx, frozen, import_weights, origins, predict, pretrain, settings

ROWS = (frozen.PRETRAINED, frozen.RECALIBRATED, evaluate.SCRATCH, frozen.RANDOM, frozen.RAW)
"""Of the results' table, from top to bottom."""
PUBLISHED = "published"
WITH_INTERVALS = 2
"""Columns of the results' table that leave room for intervals in a terminal of 80."""
WITH_THEN = 80
"""Columns of a terminal in which there is room for what a clip may be besides."""
WITH_WORDS = 110
"""Columns of a terminal in which there is room for what a setting is for."""
MEASURED_STEPS = 3
"""Steps after which the expected time is said: the first is slower than the others."""


class TrainingBar(Bar):
    """Progress of a pre-training, with the expected time said once it is known."""

    def __init__(self, *, shown: bool = True) -> None:
        super().__init__("pretrain", FIRST, shown=shown)
        self._first: int | None = None

    def show(self, tick: pretrain.Tick) -> None:
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
            self.say(f"{tick.samples_per_second:.0f} samples/s: about {duration(left)} for {tick.epochs} epochs")


def pretrain_summary(report: pretrain.Report) -> list[str]:
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
        f"{run.path}: {report.outcome}, {_count(report.steps, 'step')} in {duration(report.seconds)} on {report.device}"
    )
    lines.append(
        f"{report.samples_per_second:.0f} samples/s, mean loss of the first epoch {report.first_loss:.3f}, "
        f"of the last {report.last_loss:.3f}"
    )
    return lines + best


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
        "best": report.best,
        "skipped": report.skipped,
    }


def predictions_table(report: predict.Report) -> Table:
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


def predictions_notes(report: predict.Report) -> list[str]:
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


def _class(guess: predict.Guess) -> str:
    return f"{guess.label} {guess.name}".rstrip()


def trained(checkpoint: Mapping[str, Any]) -> str:
    """How far the weights of a checkpoint were trained."""
    if checkpoint.get("imported"):
        return f"weights imported from {checkpoint['imported']}"
    return f"step {checkpoint['step']} of {checkpoint['total_steps']}"


def onnx_lines(report: export_onnx.Report) -> list[str]:
    """What was exported of a run, in lines."""
    scores = f" and scores (N, {report.classes}) of {report.classifier}" if report.classes else ""
    worst = max(report.differences.values())
    return [
        *report.checkpoint.get("skipped", []),
        f"{report.out}: clips (N, 3, T, {report.joints}, M) to features (N, {report.dimensions}){scores}, "
        f"opset {report.opset}, {report.bytes / 1e6:,.1f} MB",
        f"{trained(report.checkpoint)}, {report.layer}; differs from torch by at most {worst:.0e} of the largest",
    ]


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


def config_table(shown: origins.Shown) -> Table:
    """Every value of a configuration with its origin; in a wide terminal also what it is for."""
    table = Table(title=Text(shown.of), title_justify="left", box=None, pad_edge=False)
    for head in ("key", "value", "origin"):
        table.add_column(head, overflow="fold", no_wrap=head == "key")
    wide = columns() >= WITH_WORDS
    if wide:
        table.add_column("what it is", ratio=1)
    for value in shown.values:
        told = json.dumps(value.value, ensure_ascii=False) if not isinstance(value.value, str) else value.value
        style = "" if value.origin == settings.DEFAULT else "bold"
        cells = [Text(value.key, style), Text("-" if value.value is None else told, style), Text(value.origin, style)]
        table.add_row(*cells, *([Text(re.split(r"\.(?= [A-Z]|$)", value.about, maxsplit=1)[0])] if wide else []))
    return table


def results_table(results: Mapping[str, Mapping[str, Any]]) -> Table:
    """All protocols of one run side by side: a row per representation, top-1 with its 95 % interval."""
    first = next(iter(results.values()))
    lineage = first["lineage"]
    who = " + ".join(part["run"]["path"] for part in first.get("fused", ())) or lineage["run"]["path"]
    title = f"{who} on {lineage['store']['name']} {lineage['split']['name']}, top-1 %"
    wide = len(results) <= WITH_INTERVALS
    names = sorted(dict.fromkeys(name for result in results.values() for name in result["rows"]), key=ROWS.index)
    rows = {name: [_cell(result["rows"].get(name), wide) for result in results.values()] for name in names}
    if any(result["published"] for result in results.values()):
        rows[PUBLISHED] = [_published(result["published"]) for result in results.values()]
    widths = [max(map(len, column)) for column in zip(results, *rows.values(), strict=True)]
    if max(map(len, rows)) + sum(widths) + 3 * len(widths) + 4 > columns():
        return _one_by_one(title, list(results), rows)
    table = Table(title=title, title_justify="left")
    table.add_column("representation", no_wrap=True)
    for protocol in results:
        table.add_column(protocol, justify="right", no_wrap=True)
    for name, cells in rows.items():
        table.add_row(name, *cells, style="dim" if name == PUBLISHED else None)
    return table


def _one_by_one(title: str, protocols: Sequence[str], rows: Mapping[str, Sequence[str]]) -> Table:
    """The same for a narrow terminal, a line for every figure."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("protocol", no_wrap=True)
    table.add_column("representation", overflow="fold")
    table.add_column("top-1 %", no_wrap=True)
    for place, protocol in enumerate(protocols):
        for name, cells in rows.items():
            if cells[place]:
                table.add_row(protocol, name, cells[place], style="dim" if name == PUBLISHED else None)
    return table


def results_notes(results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What a reader of the table must know, in lines."""
    lineage = next(iter(results.values()))["lineage"]
    split, checkpoint = lineage["split"], lineage["checkpoint"]
    lines = [
        *checkpoint["skipped"],
        f"{split['test']} test clips, {split['train']} training clips; {trained(checkpoint)}; "
        + ("brackets: 95 % interval" if len(results) <= WITH_INTERVALS else "95 % intervals are in the files"),
    ]
    if checkpoint.get("imported"):
        lines.append("imported weights do not say which clips they were pre-trained on: test clips may be among them")
    if lineage["test_clips_pretrained_on"]:
        lines.append(
            f"{lineage['test_clips_pretrained_on']} of the test clips were pre-trained on, without their labels: "
            "this is another split than the run's"
        )
    lines += [
        f"{key} is the last epoch; the best of {results[key]['settings']['epochs']} on the test set was "
        f"{_best(results[key])}, which is what most papers report"
        for key in ("linear", "finetune")
        if key in results and "fused" not in results[key]
    ]
    for key, result in results.items():
        if result["protocol"] == "semi":
            draws = len(next(iter(result["rows"].values()))["seeds"])
            labelled = result["settings"]["labelled"]
            lines.append(f"{key}: {labelled} labelled clips; mean and standard deviation over {_count(draws, 'draw')}")
    if any(frozen.RAW in result["rows"] for result in results.values()):
        lines.append("raw coordinates: nearest neighbour by Euclidean distance, whatever the column")
    return lines + [f"written: {result['written']}" for result in results.values()]


def bench_table(part: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    """A part's ways: what one does in the median round, between which rounds, and how that is to the first way's."""
    table = Table(title=part, title_justify="left", box=None, pad_edge=False)
    table.add_column("what", overflow="fold")
    table.add_column("size", overflow="fold")
    table.add_column("median", justify="right", no_wrap=True)
    table.add_column("unit", no_wrap=True)
    table.add_column("range", justify="right", overflow="fold")
    table.add_column("ratio", justify="right", no_wrap=True)
    for row in rows:
        if row["median"] is None:
            table.add_row(row["what"], row["size"], "", "", "does not fit")
            continue
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}x"
        spread = f"{_figure(row['least'])} to {_figure(row['most'])}"
        table.add_row(row["what"], row["size"], _figure(row["median"]), row["unit"], spread, ratio)
    return table


def bench_notes(found: Mapping[str, Any]) -> list[str]:
    """Where and how the figures were taken, in lines."""
    machine = found["machine"]
    where = ", ".join(str(machine[key]) for key in ("processor", "device"))
    versions = ", ".join(f"{key} {machine[key]}" for key in ("torch", "skelepipe", "commit"))
    lines = [
        f"{where}; {versions}; {machine['date']}",
        f"medians of {_count(found['rounds'], 'round')}, each of which ran every way once; ratio: to the first way of "
        "the same size, round by round",
    ]
    return [*lines, *(["--small: these figures mean nothing"] if found["small"] else [])]


def _figure(value: float) -> str:
    """Three digits that count."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.{1 if value >= 100 else 2 if value >= 1 else 3}f}"


def _cell(row: Mapping[str, Any] | None, wide: bool) -> str:
    if row is None:
        return ""
    if "interval95" in row and not wide:
        return f"{row['top1']:.1f}"
    if "interval95" not in row:
        return f"{row['top1']:.1f}" if row["deviation"] is None else f"{row['top1']:.1f} ± {row['deviation']:.1f}"
    low, high = row["interval95"]
    return f"{row['top1']:.1f} [{low:.1f}, {high:.1f}]"


def _best(result: Mapping[str, Any]) -> str:
    """The best epoch of the first row."""
    best = next(iter(result["rows"].values()))["best_epoch"]
    return f"{best['top1']:.1f} (epoch {best['epoch']})"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _published(published: Mapping[str, Any] | None) -> str:
    return "" if published is None else f"{published['top1']:.1f}"
