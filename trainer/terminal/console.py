"""Terminal width, progress bars, and formatting of durations and sizes."""

import os
import shutil
import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Column

from pipeline.ingest.request import IngestProgress

PLAIN_SECONDS = 10.0
"""Off a terminal, one line so often."""
FIRST_RUN_NOTE = "starting; the first run on a machine compiles for some 10 s"
"""What the bar of an ingest or a pre-training says until something is done."""


class ProgressBar:
    """Progress on stderr: a live bar on a terminal, a plain line now and then elsewhere."""

    def __init__(self, doing: str, note: str = "", *, shown: bool = True) -> None:
        self._doing = doing
        console = Console(stderr=True)
        self._shown = shown
        self._live = shown and console.is_terminal
        kept = Column(no_wrap=True)  # in a narrow terminal the note gives way, not the rest
        columns = (
            TextColumn("{task.description}", table_column=kept),
            BarColumn(bar_width=12, table_column=kept),
            TaskProgressColumn(table_column=kept),
            TimeRemainingColumn(table_column=kept),
            TextColumn("{task.fields[note]}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")),
        )
        self._bar = Progress(*columns, console=console, transient=True, expand=True)
        self._task = self._bar.add_task(doing, total=None, note=note)
        self._began = self._spoke = time.monotonic()
        self._seen: tuple[float, float] | None = None

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
        if done and self._seen is None:  # compiling, and what an earlier run has done, say nothing of what is left
            self._seen = now, done
        if now - self._spoke >= PLAIN_SECONDS and self._seen:
            self._spoke = now
            began, before = self._seen
            left = (
                f"  {format_duration((now - began) * (total - done) / (done - before))} left" if done > before else ""
            )
            self.say(f"{self._doing} {100 * done / total:3.0f} %  {note}{left}")

    def say(self, line: str) -> None:
        """One line above the bar."""
        if self._live:
            self._bar.console.print(line, highlight=False, markup=False, soft_wrap=True)
        elif self._shown:
            print(line, file=sys.stderr, flush=True)  # noqa: T201

    def note(self, text: str) -> None:
        """Say what is being done, where nobody knows how long it takes."""
        if self._live:
            self._bar.update(self._task, note=text)

    def export(self, done: int, total: int) -> None:
        """Show an export's progress."""
        self.update(done, total, f"{done} of {total} clips")

    def predict(self, done: int, total: int) -> None:
        """Show a prediction's progress."""
        self.update(done, total, f"{done} of {total} recordings")

    def ingest(self, tick: IngestProgress) -> None:
        """Show an ingest's progress."""
        rate = tick.bytes / 1e6 / max(time.monotonic() - self._began, 1e-9)
        bad = f", {tick.quarantined} quarantined" if tick.quarantined else ""
        then = "; writing the store" if tick.files == tick.total_files else ""
        note = f"{tick.files} of {tick.total_files} files, {rate:.0f} MB/s{bad}{then}"
        self.update(tick.bytes, tick.total_bytes, note)


def format_duration(seconds: float) -> str:
    """A time in the two largest units that matter."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def format_size(count: float) -> str:
    """Bytes in the unit that leaves at most three digits before the point."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.1f} {unit}" if unit != "B" else f"{count:.0f} B"
        count /= 1000
    return f"{count:.1f} TB"


PIPED = 160
"""Columns of what goes to a file or a pipe, where no terminal folds a row."""


def columns() -> int:
    """How wide tables may be: as the terminal or COLUMNS says, wide in a file."""
    narrow = sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdecimal()
    return shutil.get_terminal_size().columns if narrow else PIPED
