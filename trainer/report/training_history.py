"""How a run came about, for its report: curves of the training, configuration, lineage, checkpoints."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.artifacts import manifest, schemas
from pipeline.errors import ArtifactError
from pipeline.report import charts
from pipeline.report.charts import Curve
from pipeline.report.report import Block, Chart, Charts, Facts, Text, make_table, number
from pipeline.report.svg import Role
from trainer.config.layers import flatten_model
from trainer.config.presets import compose_pretrain, load_preset, preset_names
from trainer.config.pretrain import FITTED_KEYS, PretrainConfig
from trainer.runs import checkpoint
from trainer.runs.effective_config import effective_run_config
from trainer.runs.log import read_log
from trainer.runs.run import LOG_FILE, Run

TERMS: tuple[tuple[str, Role], ...] = (("total", "accent"), ("instance", "second"), ("mixed", "good"))
"""Of the loss, as `pretrain` logs it."""


def training(run: Run) -> list[Block]:
    """Loss, held-out kNN, learning rate and speed over the epochs, out of the run's log."""
    if run.imported:
        return [Text(text=f"Its weights were trained elsewhere: {run.imported['file']}. There is no log of that here.")]
    log = read_log(run.path / LOG_FILE)
    if not log:
        return [Text(text=f"{run.path / LOG_FILE} has no readable line: there are no curves.", warns=True)]
    per_epoch = max(run.total_steps / run.config.epochs, 1)
    keys = [*(term for term, _ in TERMS), "held_out_knn", "lr", "samples_per_second"]
    series = {key: _series(log, key, per_epoch) for key in keys}
    drawn = []
    loss = [
        Curve(name=term, x=series[term][0], y=series[term][1], role=role) for term, role in TERMS if series[term][0]
    ]
    if loss:
        drawn.append(_drawn("Loss", loss, "loss"))
    if series["held_out_knn"][0]:
        x, y = series["held_out_knn"]
        held = run.lineage["split"].get("held_out") or {}
        line = Curve(name="held-out kNN", x=x, y=y, role="good", marked=len(x) <= 60)
        title = f"kNN of held-out training clips{_held(held)}"
        rows = [(f"{epoch:g}", f"{top1:.1f}") for epoch, top1 in zip(x, y, strict=True)]
        table = make_table(f"{title}: the numbers", ["epoch", "top-1 %"], rows, folded=True)
        drawn.append(_drawn(title, [line], "top-1 %", table=table))
    rates, speeds = series["lr"], series["samples_per_second"]
    if rates[0]:
        line = Curve(name="rate", x=rates[0], y=rates[1], role="second")
        drawn.append(_drawn("Learning rate", [line], "learning rate", from_zero=True))
    if speeds[0]:
        line = Curve(name="speed", x=speeds[0], y=speeds[1])
        drawn.append(_drawn("Speed, mean since the start or the last resumption", [line], "samples/s", from_zero=True))
    last = max(line["step"] for line in log) + 1
    facts = [
        ("steps", f"{last:,} of {run.total_steps:,}"),
        ("epochs", number(run.config.epochs)),
        *([("loss, first and last epoch", _ends(series["total"], run.config.epochs))] if series["total"][0] else []),
        *([("samples/s, median", f"{statistics.median(speeds[1]):,.1f}")] if speeds[0] else []),
        *([("best held-out kNN", f"{max(series['held_out_knn'][1]):.1f} %")] if series["held_out_knn"][0] else []),
    ]
    stopped: list[Block] = []
    if last < run.total_steps:
        stopped.append(Text(text="Not finished: `skelepipe pretrain` with the same settings goes on.", warns=True))
    return [Facts(rows=facts), *stopped, Charts(charts=drawn)]


def configuration(run: Run) -> list[Block]:
    """Every setting with its origin; first those that differ from the preset or the default."""
    usual = flatten_model(PretrainConfig())
    known = run.preset in preset_names()
    named = flatten_model(compose_pretrain(load_preset(run.preset))) if known else {}
    head = ["setting", "this run", "from", *([f"preset {run.preset}"] if known else []), "default"]
    rows: list[tuple[str, ...]] = []
    marked: list[int] = []
    off_preset: list[int] = []
    for one in effective_run_config(run).values:
        key, value = one.key, one.value
        if value != usual.get(key) or (known and value != named.get(key)):
            if known and value != named.get(key):
                off_preset.append(len(marked))
            marked.append(len(rows))
        told = [_told(value), one.origin, *([_told(named.get(key))] if known else []), _told(usual.get(key))]
        rows.append((key, *told))
    differing = [rows[place] for place in marked]
    said = f"Settings other than the preset's: {len(off_preset)} (marked)." if known else "This version has none such."
    blocks: list[Block] = [Text(text=f"Preset {run.preset}. {said}")]
    if differing:
        title = "Settings that are not the default or not the preset's"
        blocks.append(make_table(title, head, differing, marked=frozenset(off_preset)))
    blocks.append(make_table("All settings", head, rows, marked=frozenset(marked), folded=True))
    return blocks


def changed(run: Run) -> list[str]:
    """Settings that differ from the run's preset; what a data set of another size changes by itself is not counted."""
    if run.preset not in preset_names():
        return []
    ours, named = flatten_model(run.config), flatten_model(compose_pretrain(load_preset(run.preset)))
    passed_over = {"seed", *(FITTED_KEYS if run.config.fit_to_data else ())}
    return [key for key, value in ours.items() if value != named.get(key) and key not in passed_over]


def lineage(run: Run) -> list[Block]:
    """What a run is made from, and what it has left."""
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
        *([("held out", _held(split["held_out"]).removeprefix(", "))] if split.get("held_out") else []),
        *([("made by", ", ".join(f"{k} {v}" for k, v in versions.items()))] if isinstance(versions, Mapping) else []),
    ]
    if run.imported:
        rows += [
            (f"imported: {key}", str(value)) for key, value in run.imported.items() if not isinstance(value, Mapping)
        ]
    return [Facts(rows=rows), *_checkpoints(run)]


def _checkpoints(run: Run) -> list[Block]:
    rows: list[tuple[str, ...]] = []
    for path in checkpoint.listed(run.checkpoints):
        try:
            digest = manifest.open_folder(path, schemas.CHECKPOINT)["digest"]
            meta = checkpoint.read_meta(path)
        except ArtifactError as error:
            rows.append((path.name, "", "", "", str(error)))
            continue
        best = meta.get("best")
        is_best = best is not None and best["step"] == meta["step"]
        state = "good" + (f"; best by held-out kNN, {best['held_out_knn']:.1f} %" if best and is_best else "")
        rows.append((path.name, number(meta["step"]), number(meta["epoch"] + 1), digest[:12], state))
    if not rows:
        return [Text(text="There is no checkpoint.", warns=True)]
    return [make_table("Checkpoints", ["checkpoint", "step", "epoch", "digest", "state"], rows)]


def _series(log: Sequence[Mapping[str, Any]], key: str, per_epoch: float) -> tuple[list[float], list[float]]:
    """Epochs and values of what a log has under a key; what is no finite number is passed over."""
    found = [(line["step"], line.get(key)) for line in log]
    kept = [
        ((step + 1) / per_epoch, float(value))
        for step, value in found
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(step) < 2**53
        if abs(value) < 1e30 and math.isfinite(value)
    ]
    return [epoch for epoch, _ in kept], [value for _, value in kept]


def _drawn(title: str, lines: list[Curve], y: str, **how: Any) -> Chart:
    table = how.pop("table", None)
    return Chart(title=title, svg=charts.curves(title, lines, x="epoch", y=y, **how), table=table)


def _ends(series: tuple[list[float], list[float]], epochs: int) -> str:
    """Mean loss of the first and the last epoch that the log has."""
    first = [value for epoch, value in zip(*series, strict=True) if epoch <= 1] or series[1][:1]
    last = [value for epoch, value in zip(*series, strict=True) if epoch > series[0][-1] - 1]
    return f"{statistics.fmean(first):.3f}, {statistics.fmean(last):.3f}"


def _held(held: Any) -> str:
    """Who was held out."""
    if not isinstance(held, Mapping) or not held.get("column"):
        return ""
    values = held.get("values") or []
    return f", {held['column']} {', '.join(map(str, values))} ({held.get('clips')} clips)"


def _told(value: Any) -> str:
    return "not set" if value is None else "yes" if value is True else "no" if value is False else str(value)
