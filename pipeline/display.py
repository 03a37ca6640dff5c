"""What the terminal shows of the pipeline: summaries as text and tables for the command line, and a progress bar."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Column, Table
from rich.text import Text

from pipeline import ingest, splits
from pipeline.verify import Verdict

PLAIN_SECONDS = 10.0
"""Off a terminal, one line so often."""
SHOWN = 10
"""Quarantined recordings listed; `--json` has all, and so has the store."""


class Bar:
    """Progress on stderr: a live bar on a terminal, a plain line now and then elsewhere."""

    def __init__(self, doing: str) -> None:
        self._doing = doing
        console = Console(stderr=True)
        self._live = console.is_terminal
        kept = Column(no_wrap=True)  # in a narrow terminal the note gives way, not the rest
        columns = (
            TextColumn("{task.description}", table_column=kept),
            BarColumn(bar_width=12, table_column=kept),
            TaskProgressColumn(table_column=kept),
            TimeRemainingColumn(table_column=kept),
            TextColumn("{task.fields[note]}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")),
        )
        self._bar = Progress(*columns, console=console, transient=True, expand=True)
        self._task = self._bar.add_task(doing, total=None, note="")
        self._began = self._spoke = time.monotonic()

    def __enter__(self) -> Self:
        if self._live:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._bar.stop()

    def update(self, done: float, total: float, note: str) -> None:
        """Show how far things are; `note` says it in the work's own units."""
        if self._live:
            self._bar.update(self._task, completed=done, total=total, note=note)
            return
        now = time.monotonic()
        if now - self._spoke >= PLAIN_SECONDS and done:
            self._spoke = now
            left = (now - self._began) * (total - done) / done
            self.say(f"{self._doing} {100 * done / total:3.0f} %  {note}  {duration(left)} left")

    def say(self, line: str) -> None:
        """One line above the bar."""
        if self._live:
            self._bar.console.print(line, highlight=False, markup=False, soft_wrap=True)
        else:
            print(line, file=sys.stderr, flush=True)  # noqa: T201

    def ingest(self, tick: ingest.Tick) -> None:
        """Show an ingest's progress."""
        rate = tick.bytes / 1e6 / max(time.monotonic() - self._began, 1e-9)
        bad = f", {tick.quarantined} quarantined" if tick.quarantined else ""
        self.update(tick.bytes, tick.total_bytes, f"{tick.files} of {tick.total_files} files, {rate:.0f} MB/s{bad}")


def duration(seconds: float) -> str:
    """A time in the two largest units that matter."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def ingest_summary(report: ingest.Report) -> list[str]:
    """What an ingest did, in lines."""
    lines = []
    if report.outcome == "dry run":
        lines.append(
            f"dry run: {report.source_files} recordings, {report.source_bytes / 1e6:.1f} MB of text; nothing written"
        )
    else:
        size = f"{report.store_bytes / 1e6:.1f} MB"
        lines.append(
            f"{report.output}: {report.outcome}, {report.clips} clips, {report.body_frames} body-frames, {size}"
        )
    if report.outcome == "ingested":
        rate = report.source_bytes / 1e6 / report.seconds
        again = f", {report.resumed_files} files were done before" if report.resumed_files else ""
        took = duration(report.seconds) if report.seconds >= 10 else f"{report.seconds:.1f} s"
        lines.append(
            f"recipe {report.recipe}, {report.source_bytes / 1e6:.1f} MB of text in {took}, {rate:.0f} MB/s{again}"
        )
    if report.missing:
        lines.append(
            f"left out: {len(report.missing)} samples officially missing or incomplete (--keep-missing takes them in)"
        )
    lines += [f"left out, {what}: {count}" for what, count in sorted(report.left_out.items())]
    return lines


def quarantine_table(quarantined: Sequence[dict[str, Any]]) -> Table:
    """The recordings that could not be used, the first few of them."""
    table = Table(title=f"{len(quarantined)} quarantined", title_justify="left", box=None, pad_edge=False)
    table.add_column("file", no_wrap=True)
    table.add_column("line", justify="right")
    table.add_column("reason", overflow="fold")
    for bad in quarantined[:SHOWN]:
        # Text, since names and quoted fields may hold square brackets, which a str would have taken for markup.
        table.add_row(Text(bad["file"]), str(bad["line"] or ""), Text(bad["reason"]))
    if len(quarantined) > SHOWN:
        table.add_row("...", "", f"and {len(quarantined) - SHOWN} more: quarantine.json in the store has all")
    return table


def splits_summary(built: splits.Built, store: Path) -> list[str]:
    """What build-splits made, in lines."""
    lines = []
    for split in built.splits:
        left = f", {split.left_out} in neither" if split.left_out else ""
        lines.append(
            f"{split.path}: {split.name} of {store.stem}, {len(split.train)} train, {len(split.test)} test{left}"
        )
    lines += [
        f"{subset.path}: {subset.fraction:g} of the training clips, {len(subset.rows)} clips"
        for subset in built.subsets
    ]
    return lines + [f"skipped {problem}" for problem in built.skipped]


def verdict_lines(verdict: Verdict) -> list[str]:
    """What verify found, in lines."""
    what = verdict.kind.removeprefix("skelepipe-")
    if not verdict.findings:
        return [f"{verdict.path}: good ({what})"]
    return [f"{verdict.path}: damaged or incomplete ({what})", *(f"  {finding}" for finding in verdict.findings)]
