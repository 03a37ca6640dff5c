"""The whole of a conversion: what lies there, recording by recording, into a folder data set, whole or not at all."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.convert import labels as convert_labels
from pipeline.convert import output
from pipeline.convert.inputs import ConvertRequest, Files, Folder
from pipeline.convert.output import map_to_layout
from pipeline.convert.registry import FOLDER, OPTION_TOOLS
from pipeline.convert.take import ConvertedClip, FoundRecording, Unreadable
from pipeline.errors import ConfigError, RawFileError, SkelepipeError, one_line, printable_name
from pipeline.files.atomic import new_folder
from pipeline.files.disk import folder_size
from pipeline.skeleton.layout import Layout
from pipeline.skeleton.shipped_layouts import layout_mapping, load_layout

__all__ = ["ConvertRequest", "ConvertResult", "convert"]

FAST = 45
"""Frames a second above which recipes, that assume 30, should be given fewer."""


@dataclass(kw_only=True, slots=True)
class ConvertResult:
    """What a conversion wrote."""

    output: Path
    tool: str
    layout: str
    joints: int
    made_up: tuple[str, ...] = ()
    """Joints that the tool has nothing of."""
    recordings: int = 0
    clips: int = 0
    frames: int = 0
    confident: int = 0
    """Clips with confidence."""
    classes: tuple[str, ...] = ()
    sources: dict[str, list[str]] = field(default_factory=dict)
    """For each column of the manifest where it came from, in words."""
    subjects: int = 0
    splits: dict[str, Any] = field(default_factory=dict)
    """For each split whose clips train."""
    notes: dict[str, int] = field(default_factory=dict)
    """What was taken for granted, and of how many recordings."""
    left_out: dict[str, int] = field(default_factory=dict)
    refused: list[dict[str, Any]] = field(default_factory=list)
    """name, file, line (0 when none) and reason of each recording that cannot be used."""
    bytes: int = 0


def convert(request: ConvertRequest, progress: Callable[[int, int], None] = lambda done, total: None) -> ConvertResult:
    """Write the folder data set that a request describes.

    Args:
        request: what is asked.
        progress: is told how many recordings of how many are done.

    Raises:
        ArtifactNotFound: there are no such files.
        ConfigError: an option that means nothing to the tool, or cannot be used.
        LayoutError: there is no way to the layout that is asked for.
        OutputExists: the output holds something already.
        OutputLocked: another process is writing it.
        OutputFailed: the disk refuses.
        SkelepipeError: none of the recordings can be used.
    """
    for option, tools in OPTION_TOOLS.items():
        if getattr(request, option) and request.tool not in tools:
            raise ConfigError(f"--{option} means nothing to {request.tool}, only to {', '.join(tools)}")
    if request.target is not None:
        load_layout(request.target)
    work = Folder(request) if request.tool == FOLDER else Files(request)
    report = ConvertResult(output=request.output, tool=request.tool, layout="", joints=0, recordings=work.recordings)
    report.left_out = dict(work.left_out)
    rows: list[dict[str, str]] = []
    names, rates, notes = output.ClipNames(), set[float | None](), Counter[str]()
    layout: Layout | None = None
    with new_folder(request.output) as folder:
        (folder / "clips").mkdir()
        for done, (found, take) in enumerate(work.takes(), start=1):
            try:
                if isinstance(take, RawFileError):
                    raise take
                columns = work.columns(found, take)
                changed = _changed(take, request)
                if layout is not None and layout != changed.layout:
                    raise _other(found, layout, changed.layout)
                layout = changed.layout
                notes.update(changed.notes)
                rates.add(changed.rate)
                file = output.write_clip(folder, names.next(found.name), changed)
                rows.append({"file": file, **columns, **work.source(found)})
                report.frames += changed.xyz.shape[1]
                report.confident += changed.confidence is not None
            except (RawFileError, Unreadable) as error:
                report.refused.append(_refused(found, error))
            progress(min(done, work.recordings), work.recordings)
        if layout is None:
            raise _nothing(report)
        report.notes = dict(notes)
        rows = _labelled(rows, report)
        classes, splits = work.described(rows)
        comment = f"Made by skelepipe convert {request.tool}; docs/data/folder.md says what each key means."
        rate = rates.pop() if len(rates) == 1 else None
        output.write_skeleton_toml(folder, layout, comment=comment, rate=rate, classes=classes, splits=splits)
        output.write_manifest_csv(folder, rows)
        report.bytes = folder_size(folder)
    report.layout, report.joints, report.clips = layout.name, len(layout.joints), len(rows)
    report.classes = tuple(dict.fromkeys(row["label"] for row in rows))
    report.subjects = len({row.get("subject", "") for row in rows} - {""})
    report.sources = work.sources()
    if work.unused:
        report.left_out["rows of --labels that name no recording here"] = work.unused
    report.splits = {name: dict(sides["train"] or {}) for name, sides in splits.items()}
    if request.target and work.layout_name not in (None, request.target):
        report.made_up = layout_mapping(str(work.layout_name), request.target).made_up
    return report


def _changed(take: ConvertedClip, request: ConvertRequest) -> ConvertedClip:
    """A take as the request wants it: its frames, its layout."""
    if request.every > 1:
        sure = None if take.confidence is None else take.confidence[:, :: request.every]
        rate = None if take.rate is None else take.rate / request.every
        take = replace(take, xyz=take.xyz[:, :: request.every], confidence=sure, rate=rate)
    if take.rate is not None and take.rate > FAST:
        told = (
            f"{take.rate:.4g} frames a second, recipes assume about 30: --every {round(take.rate / 30)} takes so many"
        )
        take = replace(take, notes=(*take.notes, told))
    with np.errstate(all="ignore"):
        take = replace(take, xyz=np.where(np.isfinite(take.xyz).all(axis=3, keepdims=True), take.xyz, np.nan))
        if request.target is not None:
            take = map_to_layout(take, request.target)
    if np.isnan(take.xyz).all():
        raise Unreadable("no joint is left")
    return take


def _other(found: FoundRecording, first: Layout, other: Layout) -> Unreadable:
    odd = [name for name in other.joints if name not in first.joints] or list(other.joints)
    return Unreadable(
        f"is another kind of skeleton than the first recording's, {len(other.joints)} joints and not "
        f"{len(first.joints)}, such as {odd[0]}; convert it into a folder of its own",
    )


def _labelled(rows: list[dict[str, str]], report: ConvertResult) -> list[dict[str, str]]:
    """The rows with a label each: when nobody has any all are of one class, else those without are refused."""
    if not any("label" in row for row in rows):
        report.notes["nothing says what the recordings show: one class; --labels or --pattern says it"] = len(rows)
        return [{"label": convert_labels.NAMELESS, **row} for row in rows]
    for row in rows:
        if "label" not in row:
            report.refused.append(
                {
                    "name": Path(row["file"]).stem,
                    "file": row.get("source", row["file"]),
                    "line": 0,
                    "reason": "nothing says what it shows, and of others it is said; --labels or --pattern can",
                }
            )
    return [row for row in rows if "label" in row]


def _refused(found: FoundRecording, error: RawFileError | Unreadable) -> dict[str, Any]:
    source = error.source if isinstance(error, RawFileError) else ""
    reason = error.reason if isinstance(error, RawFileError) else one_line(str(error))
    file = next((file for file in found.files if str(file) == source), found.file)
    return {"name": printable_name(found.name), "file": file.name, "line": error.line, "reason": reason}


def _nothing(report: ConvertResult) -> SkelepipeError:
    first = "; ".join(str(RawFileError(bad["file"], bad["line"], bad["reason"])) for bad in report.refused[:3])
    return SkelepipeError(f"none of {report.recordings} recordings can be used, nothing written: {first}")
