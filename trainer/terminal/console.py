"""Progress bar, width of tables, and formats of durations and sizes. Does not import torch."""

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

PLAIN_LINE_SECONDS = 10.0
"""Time between two lines of progress if stderr is not a terminal."""
FIRST_RUN_NOTE = "starting; the first run on a machine compiles for 10 to 30 s"
"""Shown by the bars of ingest and pretrain until the first progress."""
WIDTH_OF_PIPE = 160
"""Width of tables in characters if stdout is not a terminal."""


class ProgressBar:
    """Progress on stderr: a live bar on a terminal, otherwise a plain line every few seconds."""

    def __init__(self, title: str, note: str = "", *, shown: bool = True) -> None:
        self._title = title
        console = Console(stderr=True)
        self._shown = shown
        self._live = shown and console.is_terminal
        fixed = Column(no_wrap=True)  # in a narrow terminal only the note is cut off
        columns = (
            TextColumn("{task.description}", table_column=fixed),
            BarColumn(bar_width=12, table_column=fixed),
            TaskProgressColumn(table_column=fixed),
            TimeRemainingColumn(table_column=fixed),
            TextColumn("{task.fields[note]}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")),
        )
        self._bar = Progress(*columns, console=console, transient=True, expand=True)
        self._task = self._bar.add_task(title, total=None, note=note)
        self._start_time = self._line_time = time.monotonic()
        self._first_update: tuple[float, float] | None = None
        """Time and `done` of the first progress."""

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
        """Show progress; `note` gives it in units of the work."""
        if self._live:
            self._bar.update(self._task, completed=done, total=total, note=note)
            return
        now = time.monotonic()
        if done and self._first_update is None:  # the time before it went into compiling, or into a run that is resumed
            self._first_update = now, done
        if now - self._line_time >= PLAIN_LINE_SECONDS and self._first_update:
            self._line_time = now
            start, before = self._first_update
            left = (
                f"  {format_duration((now - start) * (total - done) / (done - before))} left" if done > before else ""
            )
            self.print_line(f"{self._title} {100 * done / total:3.0f} %  {note}{left}")

    def print_line(self, line: str) -> None:
        """Print one line above the bar."""
        if self._live:
            self._bar.console.print(line, highlight=False, markup=False, soft_wrap=True)
        elif self._shown:
            print(line, file=sys.stderr, flush=True)  # noqa: T201

    def set_note(self, text: str) -> None:
        """Show what is being done, if the amount of work is not known."""
        if self._live:
            self._bar.update(self._task, note=text)

    def show_clips(self, done: int, total: int) -> None:
        """Show the progress of an export."""
        self.update(done, total, f"{done} of {total} clips")

    def show_recordings(self, done: int, total: int) -> None:
        """Show the progress of a conversion or a prediction."""
        self.update(done, total, f"{done} of {total} recordings")

    def show_ingest(self, progress: IngestProgress) -> None:
        """Show the progress of an ingest."""
        rate = progress.bytes / 1e6 / max(time.monotonic() - self._start_time, 1e-9)
        bad = f", {progress.quarantined} quarantined" if progress.quarantined else ""
        stage = "; writing the store" if progress.files == progress.total_files else ""
        note = f"{progress.files} of {progress.total_files} files, {rate:.0f} MB/s{bad}{stage}"
        self.update(progress.bytes, progress.total_bytes, note)


def format_duration(seconds: float) -> str:
    """Format a time in its two largest units."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def format_size(count: float) -> str:
    """Format bytes in the unit that leaves at most three digits before the point."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.1f} {unit}" if unit != "B" else f"{count:.0f} B"
        count /= 1000
    return f"{count:.1f} TB"


def count_noun(number: int, noun: str) -> str:
    """Return `1 step`, `2 steps`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def table_width() -> int:
    """Return the width of tables in characters: that of the terminal or COLUMNS, or a wide one for files and pipes."""
    is_given = sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdecimal()
    return shutil.get_terminal_size().columns if is_given else WIDTH_OF_PIPE
