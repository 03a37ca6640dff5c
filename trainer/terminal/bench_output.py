"""Terminal output of `skelepipe bench`: a table for each suite, and the machine that was measured."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from trainer.terminal.console import count_noun


def bench_table(suite: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    """Build the table of a suite: median and range over rounds, and the ratio to the first row of the same size."""
    table = Table(title=suite, title_justify="left", box=None, pad_edge=False)
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
        spread = f"{_format_figure(row['least'])} to {_format_figure(row['most'])}"
        table.add_row(row["what"], row["size"], _format_figure(row["median"]), row["unit"], spread, ratio)
    return table


def bench_notes(found: Mapping[str, Any]) -> list[str]:
    """Return lines about the machine and the method of measurement."""
    machine = found["machine"]
    hardware = ", ".join(str(machine[key]) for key in ("processor", "device"))
    versions = ", ".join(f"{key} {machine[key]}" for key in ("torch", "skelepipe", "commit"))
    lines = [
        f"{hardware}; {versions}; {machine['date']}",
        f"medians of {count_noun(found['rounds'], 'round')}, each of which measured every row once; ratio: to the "
        "first row of the same size, median over rounds",
    ]
    return [*lines, *(["--small: these figures mean nothing"] if found["small"] else [])]


def _format_figure(value: float) -> str:
    """Format with three significant digits, and integers above 1000."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.{1 if value >= 100 else 2 if value >= 1 else 3}f}"
