"""Terminal output of the commands of pipeline/: convert, ingest, finalise, build-splits, export, inspect and verify."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from pipeline.convert.convert import ConvertResult
from pipeline.convert.draft import Draft
from pipeline.export.export import ExportResult
from pipeline.ingest.batch_jobs import JobResult
from pipeline.ingest.estimate import IngestEstimate
from pipeline.ingest.request import IngestResult
from pipeline.skeleton.frame_rate import FRAMES_PER_SECOND
from pipeline.sources.class_title import class_title
from pipeline.store.build_splits import BuiltSplits
from pipeline.store.verify import VerifyResult
from trainer.terminal.console import count_noun, format_duration, format_size, table_width

MAX_LISTED = 10
"""Recordings, classes or subjects that are listed; `--json` lists all."""
LISTED_JOINTS = 5
"""Joints of lowest confidence that `inspect` names."""


def refused_table(refused: Sequence[dict[str, Any]]) -> Table:
    """Build a table of the first recordings that a conversion could not use."""
    table = Table(title=f"{len(refused)} refused", title_justify="left", box=None, pad_edge=False)
    table.add_column("file", overflow="fold")
    table.add_column("line", justify="right")
    table.add_column("reason", overflow="fold")
    for bad in refused[:MAX_LISTED]:
        table.add_row(Text(bad["file"]), str(bad["line"] or ""), Text(bad["reason"]))
    if len(refused) > MAX_LISTED:
        table.add_row("...", "", f"and {len(refused) - MAX_LISTED} more: --json lists all")
    return table


def draft_lines(draft: Draft) -> list[str]:
    """Describe what `init` found and what is left to do."""
    of_names = "tree and parts to be completed" if draft.todo else "tree and parts from their names"
    skeleton = f"layout {draft.layout}" if draft.layout else of_names
    joints = f"{count_noun(len(draft.joints), 'joint')} ({', '.join(draft.joints[:4])}, ...), {skeleton}"
    columns = [f"{column} from {source}" for column, source in draft.columns.items()]
    lines = [
        f"{draft.folder}: {count_noun(draft.recordings, 'recording')}, {joints}",
        f"units {draft.units}, up {draft.up}; {', '.join(columns) or 'no labels'}",
        *draft.notes,
        f"written: {draft.folder / 'skeleton.toml'}, {draft.folder / 'manifest.csv'}; check both",
    ]
    if draft.todo:
        missing = "; ".join(draft.todo)
        lines.append(f"the names of the joints do not tell everything: complete each TODO in skeleton.toml ({missing})")
    return lines


def conversion_lines(result: ConvertResult) -> list[str]:
    """Summarise a conversion in lines."""
    classes = f"{len(result.classes)} classes" if len(result.classes) != 1 else "1 class"
    subjects = f", {result.subjects} subjects" if result.subjects else ""
    confidence = "with confidence" if result.confident == result.clips else f"{result.confident} with confidence"
    lines = [
        f"{result.output}: converted, {result.clips} clips of {result.layout} skeletons ({result.joints} joints), "
        f"{result.frames} frames, {classes}{subjects}, {format_size(result.bytes)}"
        + (f"; {confidence}" if result.confident else "; without confidence")
    ]
    columns = [column for column in ("label", "subject", "camera") if column in result.sources]
    lines += [f"{column} from {' and '.join(result.sources[column])}" for column in columns]
    for name, train in result.splits.items():
        sides = "; ".join(f"{column} {', '.join(map(str, values[:MAX_LISTED]))}" for column, values in train.items())
        more = ", ..." if any(len(values) > MAX_LISTED for values in train.values()) else ""
        lines.append(f"split {name}: trains on {sides}{more}")
    if result.made_up:
        lines.append(f"interpolated from other joints: {', '.join(result.made_up)}")
    for note, count in result.notes.items():
        lines.append(note if count == result.clips else f"{count} of them: {note}")
    return lines + [f"ignored, {what}: {count}" for what, count in sorted(result.left_out.items())]


def ingest_summary(result: IngestResult) -> list[str]:
    """Summarise an ingest in lines."""
    lines = []
    if result.outcome == "dry run":
        lines.append(f"dry run: {result.source_files} recordings, {result.source_bytes / 1e6:.1f} MB; nothing written")
        lines += _estimate_lines(result.forecast) if result.forecast else []
    else:
        stored = f"{result.store_bytes / 1e6:.1f} MB"
        lines.append(
            f"{result.output}: {result.outcome}, {result.clips} clips, {result.body_frames} body-frames, {stored}"
        )
    if result.outcome == "ingested":
        rate = result.source_bytes / 1e6 / result.seconds
        resumed = f", {result.resumed_files} files had been processed before" if result.resumed_files else ""
        took = format_duration(result.seconds) if result.seconds >= 10 else f"{result.seconds:.1f} s"
        lines.append(
            f"recipe {result.recipe}, {result.source_bytes / 1e6:.1f} MB of recordings in {took}, "
            f"{rate:.0f} MB/s{resumed}"
        )
    lines += result.notes
    if result.unlabelled:
        lines.append(
            f"{result.unlabelled} of {result.clips} clips have no label: pretrain and embed use them, "
            "eval leaves them out"
        )
    if result.missing:
        missing = f"{len(result.missing)} samples that are officially missing or incomplete"
        lines.append(f"left out: {missing} (include them with --keep-missing)")
    lines += [f"ignored, {what}: {count}" for what, count in sorted(result.left_out.items())]
    if result.absent:
        groups = ", ".join(f"{group} {count}" for group, count in list(result.absent.items())[:MAX_LISTED])
        groups += (
            f" and {len(result.absent) - MAX_LISTED} more: --json lists all" if len(result.absent) > MAX_LISTED else ""
        )
        total = sum(result.absent.values())
        lines.append(f"not found, of the complete {result.dataset}: {total} recordings ({groups})")
    return lines


def job_summary(result: JobResult) -> list[str]:
    """Summarise one job of an ingest in lines."""
    if result.outcome == "up to date":
        return [f"{result.output}: up to date, nothing to do for partition {result.job}"]
    resumed = f", {result.resumed_files} of them had been processed before" if result.resumed_files else ""
    lines = [
        f"{result.output}: partition {result.job} done, {len(result.partitions)} of {result.of} files of partitions, "
        f"{result.source_files} recordings{resumed}, {format_duration(result.seconds)}; nothing published yet"
    ]
    if result.unfinished:
        lines.append(f"still missing: {count_noun(result.unfinished, 'file')} of other jobs; when they have ended:")
    return lines


def _estimate_lines(estimate: IngestEstimate) -> list[str]:
    """Describe time and space that an ingest would need."""
    lines = [
        f"expected: a store of {format_size(estimate.store_bytes)} in {format_duration(estimate.seconds)}, "
        f"up to {format_size(estimate.work_bytes)} during the ingest ({format_size(estimate.free_bytes)} free), "
        f"measured on {estimate.sampled_files} of the recordings"
    ]
    if estimate.quarantined:
        lines.append(f"of those, {estimate.quarantined} cannot be used")
    if estimate.work_bytes > estimate.free_bytes:
        lines.append("this is more than the free space: free some space, or choose another --out")
    return lines


def overview_lines(found: Mapping[str, Any]) -> list[str]:
    """Summarise a store in lines."""
    store, frames = found["store"], found["frames"]
    bodies = ", ".join(f"{count} of {number}" for number, count in found["bodies"].items())
    steps = " ".join(step["step"] for step in store["recipe"]["steps"])
    lines = [
        f"{store['path']}: {store['dataset']}, {found['clips']} clips of {found['recordings']} recordings, "
        f"{found['body_frames']} body-frames",
        f"frames per clip: {frames['min']:g} to {frames['max']:g}, median {frames['median']:g}, "
        f"mean {frames['mean']:g}; bodies: {bodies}",
        f"layout {store['layout']['name']} ({store['layout']['joints']} joints), "
        f"recipe {store['recipe']['name']}: {steps}",
        f"made with {store['tool']} from {store['sources']['bytes'] / 1e6:.1f} MB, "
        f"{store['missing_left_out']} officially missing samples left out; digest {store['digest'][:12]}",
    ]
    if rate := store["frames_per_second"]:
        lines.append(f"recordings at {rate:g} frames per second; clips at {FRAMES_PER_SECOND}")
    if found["confidence"]:
        joints = found["confidence"]["joints"]
        lowest = ", ".join(
            f"{name} {joints[name]:.2f}" for name in sorted(joints, key=joints.__getitem__)[:LISTED_JOINTS]
        )
        mean = sum(joints.values()) / max(1, len(joints))
        clips = count_noun(found["confidence"]["clips"], "clip")
        lines.append(f"confidence of {clips}: mean {mean:.2f}; joints of lowest confidence: {lowest}")
    for name, split in found["splits"].items():
        sides = split.get("problem") or f"{split['train']} train, {split['test']} test"
        lines.append(f"split {name}: {sides}")
    return lines


def overview_tables(found: Mapping[str, Any]) -> list[Table]:
    """Build tables of a store's clips by class, subject and so on, of the recipe's repairs, and of the quarantine."""
    counts = Table(box=None, pad_edge=False)
    for head in ("clips by", "number", "fewest", "most", "values"):
        is_text = head in {"clips by", "values"}
        counts.add_column(head, justify="left" if is_text else "right", no_wrap=head != "values")
    for name, values in found["counts"].items():
        words = list(values) if name != "class" else [_class_title(value) for value in values]
        listed = ", ".join(words[:MAX_LISTED]) + (", ..." if len(words) > MAX_LISTED else "")
        counts.add_row(name, str(len(values)), str(min(values.values())), str(max(values.values())), Text(listed))
    quality = Table(box=None, pad_edge=False)
    quality.add_column("quality", no_wrap=True)
    quality.add_column("total", justify="right")
    quality.add_column("clips", justify="right")
    quality.add_column("meaning", overflow="fold")
    for name, count in found["quality"].items():
        if count["total"]:
            quality.add_row(name, str(count["total"]), str(count["clips"]), count["meaning"])
    return [counts, quality, *([quarantine_table(found["quarantine"])] if found["quarantine"] else [])]


def _class_title(key: str) -> str:
    """Return how a class such as `5 pickup` of `--json` is shown to people."""
    label, _, name = key.partition(" ")
    return class_title(int(label), name) if label.isdecimal() else key


def quarantine_table(quarantined: Sequence[dict[str, Any]]) -> Table:
    """Build a table of the first recordings that could not be used."""
    table = Table(title=f"{len(quarantined)} quarantined", title_justify="left", box=None, pad_edge=False)
    longest = max((len(bad["file"]) for bad in quarantined[:MAX_LISTED]), default=0)
    table.add_column("file", no_wrap=longest <= table_width() // 2, overflow="fold")
    table.add_column("line", justify="right")
    table.add_column("reason", overflow="fold")
    for bad in quarantined[:MAX_LISTED]:
        # If a file has several clips and no line identifies the bad one, its name is added.
        clip = f" ({bad['name']})" if not bad["line"] and bad["name"] != bad["recording"] else ""
        # Text, because rich would read square brackets in a str as markup.
        table.add_row(Text(bad["file"] + clip), str(bad["line"] or ""), Text(bad["reason"]))
    if len(quarantined) > MAX_LISTED:
        more = len(quarantined) - MAX_LISTED
        table.add_row("...", "", f"and {more} more: skelepipe inspect STORE --quarantine lists all")
    return table


def splits_summary(built: BuiltSplits, store: Path) -> list[str]:
    """Summarise the splits and subsets that were built, in lines."""
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


def splits_json(built: BuiltSplits) -> dict[str, Any]:
    """Return the splits and subsets that were built as plain data."""
    return {
        "splits": [split.to_json() for split in built.splits],
        "subsets": [asdict(subset) for subset in built.subsets],
        "skipped": built.skipped,
        "notes": built.notes,
    }


def export_lines(result: ExportResult) -> list[str]:
    """Summarise an export in lines."""
    split = f" ({', '.join(result.splits)})" if result.splits else ""
    return [f"{result.out}: {result.format}, {result.clips} clips{split}, {result.bytes / 1e6:,.1f} MB"]


def verdict_lines(verdict: VerifyResult) -> list[str]:
    """Summarise the result of `verify` in lines."""
    kind = verdict.kind.removeprefix("skelepipe-")
    if not verdict.findings:
        return [f"{verdict.path}: good ({kind})"]
    return [f"{verdict.path}: damaged or incomplete ({kind})", *(f"  {finding}" for finding in verdict.findings)]
