"""What the terminal shows of the pipeline: summaries as text and tables for the command line, and a progress bar."""

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Column, Table
from rich.text import Text

from pipeline import export, ingest, jobs, splits
from pipeline.forecast import Forecast
from pipeline.terminal import columns
from pipeline.verify import Verdict

PLAIN_SECONDS = 10.0
"""Off a terminal, one line so often."""
FIRST = "starting; the first run on a machine compiles for some 10 s"
"""What the bar of an ingest or a pre-training says until something is done."""
UNSURE = 5
"""Joints that `inspect` names as the least certain."""
SHOWN = 10
"""Quarantined recordings listed; `--json` has all, and so has the store."""


class Bar:
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
            left = f"  {duration((now - began) * (total - done) / (done - before))} left" if done > before else ""
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

    def ingest(self, tick: ingest.Tick) -> None:
        """Show an ingest's progress."""
        rate = tick.bytes / 1e6 / max(time.monotonic() - self._began, 1e-9)
        bad = f", {tick.quarantined} quarantined" if tick.quarantined else ""
        then = "; writing the store" if tick.files == tick.total_files else ""
        note = f"{tick.files} of {tick.total_files} files, {rate:.0f} MB/s{bad}{then}"
        self.update(tick.bytes, tick.total_bytes, note)


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
        lines.append(f"dry run: {report.source_files} recordings, {report.source_bytes / 1e6:.1f} MB; nothing written")
        lines += _forecast_lines(report.forecast) if report.forecast else []
    else:
        stored = f"{report.store_bytes / 1e6:.1f} MB"
        lines.append(
            f"{report.output}: {report.outcome}, {report.clips} clips, {report.body_frames} body-frames, {stored}"
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
    if report.absent:
        where = ", ".join(f"{place} {count}" for place, count in list(report.absent.items())[:SHOWN])
        where += f" and {len(report.absent) - SHOWN} more: --json has all" if len(report.absent) > SHOWN else ""
        lines.append(f"not there, of the whole {report.dataset}: {sum(report.absent.values())} recordings ({where})")
    return lines


def job_summary(report: jobs.Report) -> list[str]:
    """What one job of an ingest did, in lines."""
    if report.outcome == "up to date":
        return [f"{report.output}: up to date, nothing to do for partition {report.job}"]
    again = f", {report.resumed_files} of them were done before" if report.resumed_files else ""
    lines = [
        f"{report.output}: partition {report.job} done, {len(report.partitions)} of {report.of} parts, "
        f"{report.source_files} recordings{again}, {duration(report.seconds)}; nothing published yet"
    ]
    if report.unfinished:
        lines.append(f"{report.unfinished} parts of other jobs are not there yet; when they have ended:")
    return lines


def _forecast_lines(expected: Forecast) -> list[str]:
    """What an ingest would cost, in lines."""
    lines = [
        f"expected: {size(expected.store_bytes)} of store, {duration(expected.seconds)}, "
        f"up to {size(expected.work_bytes)} while it works ({size(expected.free_bytes)} free), "
        f"measured on {expected.sampled_files} of the recordings"
    ]
    if expected.quarantined:
        lines.append(f"of those {expected.quarantined} cannot be used")
    if expected.work_bytes > expected.free_bytes:
        lines.append("that is more than there is: make room, or name another --out")
    return lines


def size(count: float) -> str:
    """Bytes in the unit that leaves at most three digits before the point."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.1f} {unit}" if unit != "B" else f"{count:.0f} B"
        count /= 1000
    return f"{count:.1f} TB"


def overview_lines(found: Mapping[str, Any]) -> list[str]:
    """What a store is, in lines."""
    store, frames = found["store"], found["frames"]
    bodies = ", ".join(f"{count} of {number}" for number, count in found["bodies"].items())
    steps = " ".join(step["step"] for step in store["recipe"]["steps"])
    lines = [
        f"{store['path']}: {store['dataset']}, {found['clips']} clips of {found['recordings']} recordings, "
        f"{found['body_frames']} body-frames",
        f"frames a clip: {frames['min']:g} to {frames['max']:g}, median {frames['median']:g}, mean {frames['mean']:g}; "
        f"bodies: {bodies}",
        f"layout {store['layout']['name']} ({store['layout']['joints']} joints), "
        f"recipe {store['recipe']['name']}: {steps}",
        f"made by {store['tool']} from {store['sources']['bytes'] / 1e6:.1f} MB, "
        f"{store['missing_left_out']} officially missing left out; digest {store['digest'][:12]}",
    ]
    if found["confidence"]:
        joints = found["confidence"]["joints"]
        least = ", ".join(f"{name} {joints[name]:.2f}" for name in sorted(joints, key=joints.__getitem__)[:UNSURE])
        mean = sum(joints.values()) / max(1, len(joints))
        lines.append(
            f"confidence of {found['confidence']['clips']} clips: mean {mean:.2f}; least certain joints: {least}"
        )
    for name, split in found["splits"].items():
        sides = split.get("problem") or f"{split['train']} train, {split['test']} test"
        lines.append(f"split {name}: {sides}")
    return lines


def overview_tables(found: Mapping[str, Any]) -> list[Table]:
    """A store's clips by what they show and who shows it, and what was done to them."""
    counts = Table(box=None, pad_edge=False)
    for head in ("clips by", "values", "least", "most", "which"):
        counts.add_column(head, justify="left" if head in ("clips by", "which") else "right", no_wrap=head != "which")
    for name, values in found["counts"].items():
        listed = list(values) if name != "class" else [value.split(" ", 1)[0] for value in values]
        shown = ", ".join(listed[:SHOWN]) + (", ..." if len(listed) > SHOWN else "")
        counts.add_row(name, str(len(values)), str(min(values.values())), str(max(values.values())), Text(shown))
    quality = Table(box=None, pad_edge=False)
    quality.add_column("quality", no_wrap=True)
    quality.add_column("total", justify="right")
    quality.add_column("clips", justify="right")
    quality.add_column("meaning", overflow="fold")
    for name, count in found["quality"].items():
        if count["total"]:
            quality.add_row(name, str(count["total"]), str(count["clips"]), count["meaning"])
    return [counts, quality, *([quarantine_table(found["quarantine"])] if found["quarantine"] else [])]


def quarantine_table(quarantined: Sequence[dict[str, Any]]) -> Table:
    """The recordings that could not be used, the first few of them."""
    table = Table(title=f"{len(quarantined)} quarantined", title_justify="left", box=None, pad_edge=False)
    longest = max((len(bad["file"]) for bad in quarantined[:SHOWN]), default=0)
    table.add_column("file", no_wrap=longest <= columns() // 2, overflow="fold")
    table.add_column("line", justify="right")
    table.add_column("reason", overflow="fold")
    for bad in quarantined[:SHOWN]:
        # Text, since names and quoted fields may hold square brackets, which a str would have taken for markup.
        # One clip of several in its file, with no line that says which.
        clip = f" ({bad['name']})" if not bad["line"] and bad["name"] != bad["recording"] else ""
        table.add_row(Text(bad["file"] + clip), str(bad["line"] or ""), Text(bad["reason"]))
    if len(quarantined) > SHOWN:
        table.add_row("...", "", f"and {len(quarantined) - SHOWN} more: skelepipe inspect STORE --quarantine has all")
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
    return [*built.notes, *lines, *(f"skipped {problem}" for problem in built.skipped)]


def export_lines(report: export.Report) -> list[str]:
    """What an export wrote, in lines."""
    split = f" ({', '.join(report.splits)})" if report.splits else ""
    return [f"{report.out}: {report.format}, {report.clips} clips{split}, {report.bytes / 1e6:,.1f} MB"]


def verdict_lines(verdict: Verdict) -> list[str]:
    """What verify found, in lines."""
    what = verdict.kind.removeprefix("skelepipe-")
    if not verdict.findings:
        return [f"{verdict.path}: good ({what})"]
    return [f"{verdict.path}: damaged or incomplete ({what})", *(f"  {finding}" for finding in verdict.findings)]
