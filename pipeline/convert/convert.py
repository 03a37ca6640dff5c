"""Convert the files of a pose estimator or capture tool into a folder data set, which appears whole or not at all."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.convert import output
from pipeline.convert.inputs import ConvertInput, ConvertRequest, FolderDataSet, ToolFiles
from pipeline.convert.registry import FOLDER, OPTION_TOOLS
from pipeline.convert.tool import ConvertedClip, FoundRecording, Unreadable
from pipeline.errors import ConfigError, RawFileError, SkelepipeError, one_line, printable_name
from pipeline.files.atomic import new_folder
from pipeline.files.disk import folder_size
from pipeline.skeleton.layout import Layout
from pipeline.skeleton.shipped_layouts import layout_mapping, load_layout

__all__ = ["ConvertRequest", "ConvertResult", "convert"]

MAX_RATE = 45
"""Frames per second above which fewer frames are advised: recipes assume about 30."""


@dataclass(kw_only=True, slots=True)
class ConvertResult:
    """What a conversion wrote."""

    output: Path
    tool: str
    layout: str
    joints: int
    made_up: tuple[str, ...] = ()
    """Joints of the layout that the tool does not provide."""
    recordings: int = 0
    clips: int = 0
    frames: int = 0
    confident: int = 0
    """Clips with confidence."""
    classes: tuple[str, ...] = ()
    sources: dict[str, list[str]] = field(default_factory=dict)
    """Where the values of each column of manifest.csv come from."""
    subjects: int = 0
    splits: dict[str, Any] = field(default_factory=dict)
    """The training condition of each split."""
    notes: dict[str, int] = field(default_factory=dict)
    """Assumptions, and the number of recordings that each applies to."""
    left_out: dict[str, int] = field(default_factory=dict)
    refused: list[dict[str, Any]] = field(default_factory=list)
    """name, file, line (0 when none) and reason of each recording that cannot be used."""
    bytes: int = 0


def convert(request: ConvertRequest, progress: Callable[[int, int], None] = lambda done, total: None) -> ConvertResult:
    """Write the folder data set that a request describes.

    Args:
        request: the options of the conversion.
        progress: is called with the numbers of finished and of all recordings.

    Raises:
        ArtifactNotFound: there are no such files.
        ConfigError: an option does not apply to the tool, or cannot be used.
        LayoutError: there is no mapping to the requested layout.
        OutputExists: the output exists and is not empty.
        OutputLocked: another process is writing the output.
        OutputFailed: the disk refuses.
        SkelepipeError: none of the recordings can be used.
    """
    for option, tools in OPTION_TOOLS.items():
        if getattr(request, option) and request.tool not in tools:
            raise ConfigError(f"--{option} does not apply to {request.tool}, only to {', '.join(tools)}")
    if request.target is not None:
        load_layout(request.target)
    data: ConvertInput = FolderDataSet(request) if request.tool == FOLDER else ToolFiles(request)
    rows: list[dict[str, str]] = []
    refused: list[dict[str, Any]] = []
    names, rates, notes = output.ClipNames(), set[float | None](), Counter[str]()
    frames = confident = 0
    layout: Layout | None = None
    with new_folder(request.output) as folder:
        (folder / "clips").mkdir()
        for recording, row, clip in _usable_clips(data, request, refused, progress):
            layout = clip.layout
            notes.update(clip.notes)
            rates.add(clip.rate)
            rows.append({"file": output.write_clip(folder, names.next(recording.name), clip), **row})
            frames += clip.xyz.shape[1]
            confident += clip.confidence is not None
        if layout is None:
            raise _nothing_usable(data.recordings, refused)
        if not any("label" in row for row in rows):
            notes["no labels found; --labels or --pattern gives them"] = len(rows)
        elif unlabelled := sum("label" not in row for row in rows):
            notes["have no label, although others have one; --labels or --pattern gives them"] = unlabelled
        classes, splits = data.classes_and_splits(rows)
        comment = f"Made by skelepipe convert {request.tool}; docs/folder.md says what each key means."
        rate = rates.pop() if len(rates) == 1 else None
        output.write_skeleton_toml(folder, layout, comment=comment, rate=rate, classes=classes, splits=splits)
        output.write_manifest_csv(folder, rows)
        size = folder_size(folder)
    left_out = dict(data.left_out)
    if unused := data.unused_label_rows():
        left_out["rows of --labels that match no recording"] = unused
    is_mapped = request.target and data.layout_name not in (None, request.target)
    return ConvertResult(
        output=request.output,
        tool=request.tool,
        layout=layout.name,
        joints=len(layout.joints),
        made_up=layout_mapping(str(data.layout_name), str(request.target)).made_up if is_mapped else (),
        recordings=data.recordings,
        clips=len(rows),
        frames=frames,
        confident=confident,
        classes=tuple(dict.fromkeys(row["label"] for row in rows if "label" in row)),
        sources=data.column_sources(),
        subjects=len({row.get("subject", "") for row in rows} - {""}),
        splits={name: dict(sides["train"] or {}) for name, sides in splits.items()},
        notes=dict(notes),
        left_out=left_out,
        refused=refused,
        bytes=size,
    )


def _usable_clips(
    data: ConvertInput,
    request: ConvertRequest,
    refused: list[dict[str, Any]],
    progress: Callable[[int, int], None],
) -> Iterator[tuple[FoundRecording, dict[str, str], ConvertedClip]]:
    """Yield each usable recording with its manifest row and its clip; add the others to `refused`."""
    layout: Layout | None = None
    for done, (recording, clip) in enumerate(data.clips(), start=1):
        try:
            if isinstance(clip, RawFileError):
                raise clip
            row = data.manifest_row(recording, clip)
            adapted = _adapt(clip, request)
            if layout is not None and layout != adapted.layout:
                raise _other_layout(layout, adapted.layout)
            layout = adapted.layout
        except (RawFileError, Unreadable) as error:
            refused.append(_refusal(recording, error))
        else:
            yield recording, row, adapted
        progress(min(done, data.recordings), data.recordings)


def _adapt(clip: ConvertedClip, request: ConvertRequest) -> ConvertedClip:
    """Drop frames and change the layout as requested; joints with a coordinate that is not finite become missing."""
    if request.every > 1:
        confidence = None if clip.confidence is None else clip.confidence[:, :: request.every]
        rate = None if clip.rate is None else clip.rate / request.every
        clip = replace(clip, xyz=clip.xyz[:, :: request.every], confidence=confidence, rate=rate)
    if clip.rate is not None and clip.rate > MAX_RATE:
        note = f"{clip.rate:.4g} frames per second, recipes assume about 30: consider --every {round(clip.rate / 30)}"
        clip = replace(clip, notes=(*clip.notes, note))
    with np.errstate(all="ignore"):
        clip = replace(clip, xyz=np.where(np.isfinite(clip.xyz).all(axis=3, keepdims=True), clip.xyz, np.nan))
        if request.target is not None:
            clip = output.map_to_layout(clip, request.target)
    if np.isnan(clip.xyz).all():
        raise Unreadable("no joint is left")
    return clip


def _other_layout(first: Layout, other: Layout) -> Unreadable:
    different = [name for name in other.joints if name not in first.joints] or list(other.joints)
    return Unreadable(
        f"has another skeleton than the first recording: {len(other.joints)} joints instead of "
        f"{len(first.joints)}, such as {different[0]}; convert it into a separate folder",
    )


def _refusal(recording: FoundRecording, error: RawFileError | Unreadable) -> dict[str, Any]:
    source = error.source if isinstance(error, RawFileError) else ""
    reason = error.reason if isinstance(error, RawFileError) else one_line(str(error))
    file = next((file for file in recording.files if str(file) == source), recording.file)
    return {"name": printable_name(recording.name), "file": file.name, "line": error.line, "reason": reason}


def _nothing_usable(recordings: int, refused: Sequence[dict[str, Any]]) -> SkelepipeError:
    first = "; ".join(str(RawFileError(bad["file"], bad["line"], bad["reason"])) for bad in refused[:3])
    return SkelepipeError(f"none of {recordings} recordings can be used, nothing written: {first}")
