"""What the terminal shows of `bench`: a table for each part, and where its figures were taken."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from trainer.terminal.training_output import plural


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
        f"medians of {plural(found['rounds'], 'round')}, each of which ran every way once; ratio: to the first way of "
        "the same size, round by round",
    ]
    return [*lines, *(["--small: these figures mean nothing"] if found["small"] else [])]


def _figure(value: float) -> str:
    """Three digits that count."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.{1 if value >= 100 else 2 if value >= 1 else 3}f}"
