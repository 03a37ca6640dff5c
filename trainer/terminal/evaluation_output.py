"""Terminal output of `skelepipe eval`: a table with all protocols of a run, and notes on its numbers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from trainer.evaluation import frozen_protocols
from trainer.evaluation.request import ROW_ORDER
from trainer.terminal.console import count_noun, table_width
from trainer.terminal.training_output import describe_checkpoint

PUBLISHED = "published"
MAX_DIFFERENCES = 6
"""Differences from a published evaluation that are listed."""
MAX_PROTOCOLS_WITH_INTERVALS = 2
"""Protocols up to which the table has room for intervals in a terminal of 80 characters."""


def results_table(results: Mapping[str, Mapping[str, Any]]) -> Table:
    """Build the table of one run: a row per representation, a column per protocol, top-1 with its interval."""
    first = next(iter(results.values()))
    lineage = first["lineage"]
    runs = " + ".join(part["run"]["path"] for part in first.get("fused", ())) or lineage["run"]["path"]
    title = f"{runs} on {lineage['store']['name']} {lineage['split']['name']}, top-1 %"
    with_intervals = len(results) <= MAX_PROTOCOLS_WITH_INTERVALS
    names = sorted(dict.fromkeys(name for result in results.values() for name in result["rows"]), key=ROW_ORDER.index)
    rows = {
        name: [_format_cell(result["rows"].get(name), with_intervals) for result in results.values()] for name in names
    }
    published = [_format_published(result["published"]) for result in results.values()]
    if any(published):
        rows[PUBLISHED] = published
    widths = [max(map(len, column)) for column in zip(results, *rows.values(), strict=True)]
    if max(map(len, rows)) + sum(widths) + 3 * len(widths) + 4 > table_width():
        return _narrow_table(title, list(results), rows)
    table = Table(title=title, title_justify="left")
    table.add_column("representation", no_wrap=True)
    for protocol in results:
        table.add_column(protocol, justify="right", no_wrap=True)
    for name, cells in rows.items():
        table.add_row(name, *cells, style="dim" if name == PUBLISHED else None)
    return table


def _narrow_table(title: str, protocols: Sequence[str], rows: Mapping[str, Sequence[str]]) -> Table:
    """Build a table for a narrow terminal, with a line for each number."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("protocol", no_wrap=True)
    table.add_column("representation", overflow="fold")
    table.add_column("top-1 %", no_wrap=True)
    for column, protocol in enumerate(protocols):
        for name, cells in rows.items():
            if cells[column]:
                table.add_row(protocol, name, cells[column], style="dim" if name == PUBLISHED else None)
    return table


def results_notes(results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return lines with what a reader of the table must know."""
    lineage = next(iter(results.values()))["lineage"]
    split, checkpoint = lineage["split"], lineage["checkpoint"]
    has_intervals = len(results) <= MAX_PROTOCOLS_WITH_INTERVALS
    lines = [
        *checkpoint["skipped"],
        f"{split['test']} test clips, {split['train']} training clips; {describe_checkpoint(checkpoint)}; "
        + ("brackets: 95 % interval" if has_intervals else "95 % intervals are in the files"),
    ]
    lines += dict.fromkeys(note for result in results.values() for note in result["notes"])
    if checkpoint.get("imported"):
        lines.append("imported weights do not record their training clips: test clips may be among them")
    if lineage["test_clips_pretrained_on"]:
        lines.append(
            f"{lineage['test_clips_pretrained_on']} of the test clips were used in pre-training, without their labels: "
            "this is another split than the run's"
        )
    lines += [
        f"{key}: accuracy after the last epoch; the best of {_count_evaluations(results[key])} on the test set was "
        f"{_format_best(results[key])}, which is what most papers report"
        for key in ("linear", "finetune")
        if key in results and "fused" not in results[key]
    ]
    for key, result in results.items():
        if result["protocol"] == "semi":
            draws = len(next(iter(result["rows"].values()))["seeds"])
            labelled = result["settings"]["labelled"]
            mean = f"mean and standard deviation over {count_noun(draws, 'subset')}"
            lines.append(f"{key}: {labelled} labelled clips; {mean}")
    lines += [
        _describe_incomparable(key, result["published"])
        for key, result in results.items()
        if result["published"] and result["published"]["differences"]
    ]
    if any(frozen_protocols.RAW_COORDINATES in result["rows"] for result in results.values()):
        lines.append("raw coordinates: nearest neighbour with Euclidean distance, in every column")
    return lines + [_describe_file(key, result) for key, result in results.items()]


def _describe_file(key: str, result: Mapping[str, Any]) -> str:
    """Return a line with the file of a result, whether it was there before, and which result is the newest."""
    path = Path(result["written"])
    line = f"written: {path.as_posix()}"
    if result["reused"]:
        line = f"found: {path.as_posix()}, evaluated before with the same settings; --force evaluates again"
    if result.get("newest", path.stem) == path.stem:
        return line
    return f"{line}. The newest result of {key}, which report and predict use, is {result['newest']}"


def _format_cell(row: Mapping[str, Any] | None, with_interval: bool) -> str:
    if row is None:
        return ""
    if "interval95" in row and not with_interval:
        return f"{row['top1']:.1f}"
    if "interval95" not in row:
        return f"{row['top1']:.1f}" if row["deviation"] is None else f"{row['top1']:.1f} ± {row['deviation']:.1f}"
    low, high = row["interval95"]
    return f"{row['top1']:.1f} [{low:.1f}, {high:.1f}]"


def _count_evaluations(result: Mapping[str, Any]) -> str:
    """Format the number of epochs after which the first row was evaluated, such as `30 evaluations`."""
    return count_noun(len(next(iter(result["rows"].values()))["test_top1_by_epoch"]), "evaluation")


def _format_best(result: Mapping[str, Any]) -> str:
    """Format the best epoch of the first row."""
    best = next(iter(result["rows"].values()))["best_epoch"]
    return f"{best['top1']:.1f} (epoch {best['epoch']})"


def _format_published(published: Mapping[str, Any] | None) -> str:
    """Format the published number if this evaluation can be compared with it."""
    return "" if published is None or published["differences"] else f"{published['top1']:.1f}"


def _describe_incomparable(key: str, published: Mapping[str, Any]) -> str:
    """Return a line with the published number and the reasons why this evaluation cannot be compared with it."""
    differences = published["differences"]
    shown = ", ".join(differences[:MAX_DIFFERENCES])
    rest = f" and {len(differences) - MAX_DIFFERENCES} more" if len(differences) > MAX_DIFFERENCES else ""
    return f"{key}: not comparable with the published {published['top1']:.1f} ({published['source']}): {shown}{rest}"
