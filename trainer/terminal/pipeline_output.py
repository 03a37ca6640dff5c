"""What the terminal shows of a conversion."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from pipeline.convert.convert import ConvertResult
from pipeline.export.export import ExportResult
from pipeline.ingest.batch_jobs import JobResult
from pipeline.ingest.estimate import IngestEstimate
from pipeline.ingest.request import IngestResult
from pipeline.store.build_splits import BuiltSplits
from pipeline.store.verify import VerifyResult
from trainer.terminal.console import columns, format_duration, format_size


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


def conversion_lines(report: ConvertResult) -> list[str]:
    """What a conversion wrote, in lines."""
    kinds = f"{len(report.classes)} classes" if len(report.classes) != 1 else "1 class"
    people = f", {report.subjects} subjects" if report.subjects else ""
    sure = "with confidence" if report.confident == report.clips else f"{report.confident} with confidence"
    lines = [
        f"{report.output}: converted, {report.clips} clips of {report.layout} skeletons ({report.joints} joints), "
        f"{report.frames} frames, {kinds}{people}, {format_size(report.bytes)}"
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


UNSURE = 5
"""Joints that `inspect` names as the least certain."""
SHOWN = 10
"""Quarantined recordings listed; `--json` has all, and so has the store."""


def ingest_summary(report: IngestResult) -> list[str]:
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
        took = format_duration(report.seconds) if report.seconds >= 10 else f"{report.seconds:.1f} s"
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


def job_summary(report: JobResult) -> list[str]:
    """What one job of an ingest did, in lines."""
    if report.outcome == "up to date":
        return [f"{report.output}: up to date, nothing to do for partition {report.job}"]
    again = f", {report.resumed_files} of them were done before" if report.resumed_files else ""
    lines = [
        f"{report.output}: partition {report.job} done, {len(report.partitions)} of {report.of} parts, "
        f"{report.source_files} recordings{again}, {format_duration(report.seconds)}; nothing published yet"
    ]
    if report.unfinished:
        lines.append(f"{report.unfinished} parts of other jobs are not there yet; when they have ended:")
    return lines


def _forecast_lines(expected: IngestEstimate) -> list[str]:
    """What an ingest would cost, in lines."""
    lines = [
        f"expected: {format_size(expected.store_bytes)} of store, {format_duration(expected.seconds)}, "
        f"up to {format_size(expected.work_bytes)} while it works ({format_size(expected.free_bytes)} free), "
        f"measured on {expected.sampled_files} of the recordings"
    ]
    if expected.quarantined:
        lines.append(f"of those {expected.quarantined} cannot be used")
    if expected.work_bytes > expected.free_bytes:
        lines.append("that is more than there is: make room, or name another --out")
    return lines


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


def splits_summary(built: BuiltSplits, store: Path) -> list[str]:
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


def export_lines(report: ExportResult) -> list[str]:
    """What an export wrote, in lines."""
    split = f" ({', '.join(report.splits)})" if report.splits else ""
    return [f"{report.out}: {report.format}, {report.clips} clips{split}, {report.bytes / 1e6:,.1f} MB"]


def verdict_lines(verdict: VerifyResult) -> list[str]:
    """What verify found, in lines."""
    what = verdict.kind.removeprefix("skelepipe-")
    if not verdict.findings:
        return [f"{verdict.path}: good ({what})"]
    return [f"{verdict.path}: damaged or incomplete ({what})", *(f"  {finding}" for finding in verdict.findings)]
