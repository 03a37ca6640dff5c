"""What the terminal shows of evaluations: all protocols of a run side by side, and what to know of the numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from trainer.evaluation import frozen_protocols
from trainer.evaluation.evaluate import SCRATCH
from trainer.terminal.console import columns
from trainer.terminal.training_output import plural, trained

ROWS = (
    frozen_protocols.PRETRAINED,
    frozen_protocols.RECALIBRATED,
    SCRATCH,
    frozen_protocols.RANDOM_ENCODER,
    frozen_protocols.RAW_COORDINATES,
)
"""Of the results' table, from top to bottom."""
PUBLISHED = "published"
WITH_INTERVALS = 2
"""Columns of the results' table that leave room for intervals in a terminal of 80."""


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
            lines.append(f"{key}: {labelled} labelled clips; mean and standard deviation over {plural(draws, 'draw')}")
    if any(frozen_protocols.RAW_COORDINATES in result["rows"] for result in results.values()):
        lines.append("raw coordinates: nearest neighbour by Euclidean distance, whatever the column")
    return lines + [f"written: {result['written']}" for result in results.values()]


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


def _published(published: Mapping[str, Any] | None) -> str:
    return "" if published is None else f"{published['top1']:.1f}"
