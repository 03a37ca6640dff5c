"""Report sections on a run's training: curves from its log, configuration, provenance and checkpoints."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.artifacts import manifest, schemas
from pipeline.errors import ArtifactError
from pipeline.report import charts
from pipeline.report.charts import Curve
from pipeline.report.report import Block, Chart, Charts, Facts, Text, format_number, make_table
from pipeline.report.svg import WIDE, Role
from trainer.config.layers import flatten_model
from trainer.config.presets import compose_pretrain, load_preset, preset_names
from trainer.config.pretrain import PretrainConfig
from trainer.runs import checkpoint
from trainer.runs.effective_config import effective_run_config
from trainer.runs.log import describe_damaged_lines, read_log, seconds_of_training
from trainer.runs.run import LOG_FILE, Run

LOSS_TERMS: tuple[tuple[str, Role], ...] = (("total", "accent"), ("instance", "second"), ("mixed", "good"))
"""Terms of the loss that are plotted, with their colours; keys of the log."""


def training_blocks(run: Run) -> list[Block]:
    """Plot loss, held-out kNN accuracy and learning rate over the epochs, from the run's log."""
    if run.imported:
        return [Text(text=f"The weights were imported from {run.imported['file']}: there is no log of their training.")]
    log = read_log(run.path / LOG_FILE)
    if not log:
        return [Text(text=f"{run.path / LOG_FILE} has no readable line, so that there are no curves.", warns=True)]
    per_epoch = max(run.total_steps / run.config.epochs, 1)
    keys = [*(term for term, _ in LOSS_TERMS), "held_out_knn", "lr", "samples_per_second"]
    series = {key: _series(log, key, per_epoch) for key in keys}
    plots = []
    queue_epochs = run.config.pair.queue_size / (run.config.batch_size * per_epoch)
    loss = []
    for term, role in LOSS_TERMS:
        x, y = _after(series[term], queue_epochs)
        is_total = term != "total" and y == _after(series["total"], queue_epochs)[1]
        if x and any(y) and not is_total:
            loss.append(Curve(name=term, x=x, y=y, role=role))
    if loss:
        total = series["total"][0]
        is_cut = bool(total) and total[0] <= queue_epochs < total[-1]
        title = "Loss, from the step at which the queue is full" if is_cut else "Loss"
        plots.append(_plot(title, loss, "loss"))
    if series["held_out_knn"][0]:
        x, y = series["held_out_knn"]
        held_out = run.lineage["split"].get("held_out") or {}
        line = Curve(name="held-out kNN", x=x, y=y, role="good", marked=len(x) <= 60)
        title = f"kNN accuracy on held-out training clips{_describe_held_out(held_out)}"
        rows = [(f"{epoch:g}", f"{top1:.1f}") for epoch, top1 in zip(x, y, strict=True)]
        table = make_table(f"{title}: the numbers", ["epoch", "top-1 %"], rows, folded=True)
        plots.append(_plot(title, [line], "top-1 %", table=table))
    rates, speeds = series["lr"], series["samples_per_second"]
    if rates[0]:
        line = Curve(name="rate", x=rates[0], y=rates[1], role="second")
        plots.append(_plot("Learning rate", [line], "learning rate", from_zero=True))
    last = max(line["step"] for line in log) + 1
    seconds = seconds_of_training(run.path / LOG_FILE)
    facts = [
        ("steps", f"{last:,} of {run.total_steps:,}"),
        ("epochs", format_number(run.config.epochs)),
        *([("loss, first and last epoch", _first_and_last(series["total"]))] if series["total"][0] else []),
        *([("training time", format_time(seconds))] if seconds else []),
        *([("samples/s, median", f"{statistics.median(speeds[1]):,.1f}")] if speeds[0] else []),
        *([("best held-out kNN", f"{max(series['held_out_knn'][1]):.1f} %")] if series["held_out_knn"][0] else []),
    ]
    stopped: list[Block] = []
    if damaged := describe_damaged_lines(run.path / LOG_FILE):
        stopped.append(Text(text=damaged, warns=True))
    if last < run.total_steps:
        stopped.append(Text(text="Not finished: `skelepipe pretrain` with the same settings resumes it.", warns=True))
    return [Facts(rows=facts), *stopped, Charts(charts=plots)]


def configuration_blocks(run: Run) -> list[Block]:
    """List every setting with its origin; first those that differ from the preset or the default."""
    defaults = flatten_model(PretrainConfig())
    is_known = run.preset in preset_names()
    preset = flatten_model(compose_pretrain(load_preset(run.preset))) if is_known else {}
    head = ["setting", "this run", "from", *([f"preset {run.preset}"] if is_known else []), "default"]
    rows: list[tuple[str, ...]] = []
    marked: list[int] = []
    off_preset: list[int] = []
    for setting in effective_run_config(run).values:
        key, value = setting.key, setting.value
        if value != defaults.get(key) or (is_known and value != preset.get(key)):
            if is_known and value != preset.get(key):
                off_preset.append(len(marked))
            marked.append(len(rows))
        of_preset = [_format_value(preset.get(key))] if is_known else []
        rows.append((key, _format_value(value), setting.origin, *of_preset, _format_value(defaults.get(key))))
    differing = [rows[index] for index in marked]
    count = f"{len(off_preset)} settings differ from the preset (marked)."
    text = count if is_known else "This version has no preset of that name."
    blocks: list[Block] = [Text(text=f"Preset {run.preset}. {text}")]
    if differing:
        title = "Settings that differ from the default or the preset"
        blocks.append(make_table(title, head, differing, marked=frozenset(off_preset)))
    blocks.append(make_table("All settings", head, rows, marked=frozenset(marked), folded=True))
    return blocks


def lineage_blocks(run: Run) -> list[Block]:
    """List what a run was made from, and its checkpoints."""
    store, split = run.lineage["store"], run.lineage["split"]
    versions = run.lineage.get("versions")
    rows: list[tuple[str, str]] = [
        ("run", str(run.path)),
        ("digest", run.digest),
        ("store", f"{store['name']} ({store['path']}, from the run's folder)" if store["name"] else "unknown"),
        ("its digest", store["digest"] or "unknown"),
        ("its recipe", store["recipe"]["name"]),
        ("split", split["name"] or "unknown"),
        ("its digest ", split["digest"] or "unknown"),
        *([("held out", _describe_held_out(split["held_out"]).removeprefix(", "))] if split.get("held_out") else []),
        *([("made by", ", ".join(f"{k} {v}" for k, v in versions.items()))] if isinstance(versions, Mapping) else []),
    ]
    if run.imported:
        rows += [
            (f"imported: {key}", str(value)) for key, value in run.imported.items() if not isinstance(value, Mapping)
        ]
    return [Facts(rows=rows), *_checkpoint_blocks(run)]


def _checkpoint_blocks(run: Run) -> list[Block]:
    rows: list[tuple[str, ...]] = []
    for path in checkpoint.list_checkpoints(run.checkpoints):
        try:
            digest = manifest.open_folder(path, schemas.CHECKPOINT)["digest"]
            meta = checkpoint.read_meta(path)
        except ArtifactError as error:
            rows.append((path.name, "", "", "", str(error)))
            continue
        best = meta.get("best")
        is_best = best is not None and best["step"] == meta["step"]
        state = "good" + (f"; best by held-out kNN, {best['held_out_knn']:.1f} %" if best and is_best else "")
        rows.append((path.name, format_number(meta["step"]), format_number(meta["epoch"] + 1), digest[:12], state))
    if not rows:
        return [Text(text="There is no checkpoint.", warns=True)]
    return [make_table("Checkpoints", ["checkpoint", "step", "epoch", "digest", "state"], rows)]


def _series(log: Sequence[Mapping[str, Any]], key: str, per_epoch: float) -> tuple[list[float], list[float]]:
    """Return epochs and values of a key of the log; values that are not finite numbers are skipped."""
    found = [(line["step"], line.get(key)) for line in log]
    valid = [
        ((step + 1) / per_epoch, float(value))
        for step, value in found
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(step) < 2**53
        if abs(value) < 1e30 and math.isfinite(value)
    ]
    return [epoch for epoch, _ in valid], [value for _, value in valid]


def _after(series: tuple[list[float], list[float]], start: float) -> tuple[list[float], list[float]]:
    """Return the part of a series after `start` epochs, or all of it if nothing comes after."""
    kept = [(epoch, value) for epoch, value in zip(*series, strict=True) if epoch > start]
    return ([epoch for epoch, _ in kept], [value for _, value in kept]) if kept else series


def _plot(title: str, lines: list[Curve], y: str, **how: Any) -> Chart:
    table = how.pop("table", None)
    return Chart(title=title, svg=charts.curves(title, lines, x="epoch", y=y, width=WIDE, **how), table=table)


def format_time(seconds: float) -> str:
    """Format a time with one decimal in its largest unit: `1.9 min`."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


def _first_and_last(series: tuple[list[float], list[float]]) -> str:
    """Format the mean loss of the first and of the last epoch in the log."""
    first = [value for epoch, value in zip(*series, strict=True) if epoch <= 1] or series[1][:1]
    last = [value for epoch, value in zip(*series, strict=True) if epoch > series[0][-1] - 1]
    return f"{statistics.fmean(first):.3f}, {statistics.fmean(last):.3f}"


def _describe_held_out(held_out: Any) -> str:
    """Return which subjects, cameras or setups were held out, after a comma; empty if none were."""
    if not isinstance(held_out, Mapping) or not held_out.get("column"):
        return ""
    values = held_out.get("values") or []
    return f", {held_out['column']} {', '.join(map(str, values))} ({held_out.get('clips')} clips)"


def _format_value(value: Any) -> str:
    return "not set" if value is None else "yes" if value is True else "no" if value is False else str(value)
