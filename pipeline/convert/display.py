"""What the terminal shows of a conversion."""

from collections.abc import Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from pipeline.convert.conversion import Report
from pipeline.display import SHOWN, size


def refused_table(refused: Sequence[dict[str, Any]]) -> Table:
    """The recordings that a conversion could not use, the first few of them."""
    table = Table(title=f"{len(refused)} refused", title_justify="left", box=None, pad_edge=False)
    table.add_column("file", overflow="fold")
    table.add_column("line", justify="right")
    table.add_column("reason", overflow="fold")
    for bad in refused[:SHOWN]:
        table.add_row(Text(bad["file"]), str(bad["line"] or ""), Text(bad["reason"]))
    if len(refused) > SHOWN:
        table.add_row("...", "", f"and {len(refused) - SHOWN} more: --json has all")
    return table


def conversion_lines(report: Report) -> list[str]:
    """What a conversion wrote, in lines."""
    kinds = f"{len(report.classes)} classes" if len(report.classes) != 1 else "1 class"
    people = f", {report.subjects} subjects" if report.subjects else ""
    sure = "with confidence" if report.confident == report.clips else f"{report.confident} with confidence"
    lines = [
        f"{report.output}: converted, {report.clips} clips of {report.layout} skeletons ({report.joints} joints), "
        f"{report.frames} frames, {kinds}{people}, {size(report.bytes)}"
        + (f"; {sure}" if report.confident else "; without confidence")
    ]
    columns = [column for column in ("label", "subject", "camera") if column in report.sources]
    lines += [f"{column} by {' and '.join(report.sources[column])}" for column in columns]
    for name, train in report.splits.items():
        told = "; ".join(f"{column} {', '.join(map(str, values[:SHOWN]))}" for column, values in train.items())
        lines.append(
            f"split {name}: trains on {told}" + (", ..." if any(len(v) > SHOWN for v in train.values()) else "")
        )
    if report.made_up:
        lines.append(f"made up from other joints: {', '.join(report.made_up)}")
    for note, count in report.notes.items():
        lines.append(note if count == report.clips else f"{count} of them: {note}")
    return lines + [f"left out, {what}: {count}" for what, count in sorted(report.left_out.items())]
