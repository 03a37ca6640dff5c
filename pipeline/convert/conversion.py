"""The whole of a conversion: what lies there, recording by recording, into a folder data set, whole or not at all."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import folder_layout, raw_files, shipped_layouts
from pipeline.convert import azure_kinect, bvh, coco, folder_in, kinect_v1, labels, mediapipe, openpose, recast, written
from pipeline.convert.takes import Found, Options, Take, Tool, Unreadable, each_file
from pipeline.errors import ConfigError, RawFileError, SkelepipeError, one_line, shown
from pipeline.folder_layout import FolderSpec
from pipeline.layout import Layout
from pipeline.synth_output import new_folder

TOOLS: Mapping[str, Tool] = {
    "mediapipe": Tool(
        find=partial(each_file, suffixes=(".json", ".jsonl", ".ndjson", ".csv")),
        read=mediapipe.read,
        takes=".json, .jsonl or .csv, one a video",
    ),
    "openpose": Tool(find=openpose.find, read=openpose.read, takes="*_keypoints.json, one a frame"),
    "coco": Tool(
        find=partial(each_file, suffixes=(".json", ".jsonl", ".ndjson")),
        read=coco.read,
        takes=".json or .jsonl, one a video",
    ),
    "azure-kinect": Tool(
        find=partial(each_file, suffixes=(".json",)), read=azure_kinect.read, takes=".json of offline_processor"
    ),
    "kinect-v1": Tool(
        find=kinect_v1.find,
        read=kinect_v1.read,
        takes="*_skeleton3D.txt, .json or *_skeleton.mat",
        grammar=kinect_v1.GRAMMAR,
        classes=kinect_v1.CLASSES,
    ),
    "bvh": Tool(find=partial(each_file, suffixes=(".bvh",)), read=bvh.read, takes=".bvh"),
}
FOLDER = "folder"
"""The tool that is no other's: a folder data set that is there already."""
MEANT: Mapping[str, tuple[str, ...]] = {
    "units": ("bvh",),
    "up": ("bvh",),
    "skeleton": ("bvh",),
    "aspect": ("mediapipe",),
    "labels": tuple(TOOLS),
    "pattern": tuple(TOOLS),
}
"""Which tools each option of a request means something to."""


FAST = 45
"""Frames a second above which recipes, that assume 30, should be given fewer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What the user asks of a conversion; None leaves it to the tool."""

    tool: str
    roots: tuple[Path, ...]
    output: Path
    target: str | None = None
    """Name of the layout to make of the tool's."""
    labels: Path | None = None
    """A CSV that says what each file shows."""
    pattern: str | None = None
    """A regular expression that finds it in a file's name."""
    every: int = 1
    """Of so many frames one is taken."""
    units: str | None = None
    up: str | None = None
    aspect: float | None = None
    skeleton: Path | None = None
    """A TOML with the layout of files whose own tree cannot be told."""


@dataclass(kw_only=True, slots=True)
class Report:
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


def run(request: Request, progress: Callable[[int, int], None] = lambda done, total: None) -> Report:
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
    for option, tools in MEANT.items():
        if getattr(request, option) and request.tool not in tools:
            raise ConfigError(f"--{option} means nothing to {request.tool}, only to {', '.join(tools)}")
    if request.target is not None:
        shipped_layouts.load(request.target)
    work = _Folder(request) if request.tool == FOLDER else _Files(request)
    report = Report(output=request.output, tool=request.tool, layout="", joints=0, recordings=work.recordings)
    report.left_out = dict(work.left_out)
    rows: list[dict[str, str]] = []
    names, rates, notes = written.Names(), set[float | None](), Counter[str]()
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
                file = written.clip(folder, names.next(found.name), changed)
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
        comment = f"Made by skelepipe convert {request.tool}; docs/folder.md says what each key means."
        rate = rates.pop() if len(rates) == 1 else None
        written.skeleton(folder, layout, comment=comment, rate=rate, classes=classes, splits=splits)
        written.manifest(folder, rows)
        report.bytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    report.layout, report.joints, report.clips = layout.name, len(layout.joints), len(rows)
    report.classes = tuple(dict.fromkeys(row["label"] for row in rows))
    report.subjects = len({row.get("subject", "") for row in rows} - {""})
    report.sources = work.sources()
    if work.unused:
        report.left_out["rows of --labels that name no recording here"] = work.unused
    report.splits = {name: dict(sides["train"] or {}) for name, sides in splits.items()}
    if request.target and work.layout_name not in (None, request.target):
        report.made_up = shipped_layouts.recast(str(work.layout_name), request.target).made_up
    return report


class _Files:
    """What other tools have written."""

    def __init__(self, request: Request) -> None:
        self._tool = TOOLS[request.tool]
        there = raw_files.find(request.roots)
        table = request.labels and request.labels.resolve()
        files = [file for file in there.files if file.member or file.path.resolve() != table]
        self._found = sorted(self._tool.find(files), key=lambda one: (one.name, str(one.file)))
        self.left_out = Counter(there.left_out)
        taken = sum(len(one.files) for one in self._found)
        if taken < len(files):
            self.left_out[f"other than {self._tool.takes}"] = len(files) - taken
        if not self._found:
            raise SkelepipeError(
                f"{', '.join(map(str, request.roots))}: nothing of {request.tool} there; it takes {self._tool.takes}"
                + "".join(f"; left out, {what}: {count}" for what, count in sorted(self.left_out.items()))
            )
        self.recordings = len(self._found)
        self._labels = labels.Labels(self._found, self._tool, request.labels, request.pattern)
        self._options = Options(
            units=request.units,
            up=request.up,
            aspect=request.aspect,
            skeleton=folder_layout.skeleton(request.skeleton) if request.skeleton else None,
        )
        self.layout_name: str | None = None

    def takes(self) -> Iterator[tuple[Found, Take | RawFileError]]:
        """The recordings one after another."""
        for found in self._found:
            try:
                with np.errstate(all="ignore"):  # absurd numbers become infinite, and are missing
                    take = self._tool.read(found, self._options)
                self.layout_name = take.layout.name
                yield found, take
            except RawFileError as error:
                yield found, error
            except Unreadable as error:
                yield found, RawFileError(str(found.file), error.line, str(error))

    def columns(self, found: Found, take: Take) -> dict[str, str]:
        """What is known of one recording."""
        return {**take.labels, **self._labels.of(found)}

    def source(self, found: Found) -> dict[str, str]:
        """Where it comes from, for a column of its own."""
        return {"source": shown(str(found.inner.name if not found.numbers else found.name))}

    @property
    def unused(self) -> int:
        """Rows of the table of labels that name none of the recordings."""
        return self._labels.unused

    def described(self, rows: Sequence[Mapping[str, str]]) -> tuple[dict[int, str], dict[str, Any]]:
        """Names of classes, and splits."""
        names = labels.class_names(self._found, self._tool, [row["label"] for row in rows])
        rules = labels.splits(rows, self._labels.sources)
        return dict(enumerate(names)), {name: {"train": rule} for name, rule in rules.items()}

    def sources(self) -> dict[str, list[str]]:
        """Where the columns come from, in words."""
        return {
            column: [labels.FOUND[source] for source in labels.FOUND if source in held]
            for column, held in self._labels.sources.items()
        }


class _Folder:
    """A folder data set that is there already."""

    unused = 0

    def __init__(self, request: Request) -> None:
        if len(request.roots) != 1:
            raise ConfigError(f"folder takes one folder at a time, found {len(request.roots)}")
        self._spec: FolderSpec
        self._spec, self.recordings, self._takes = folder_in.read(request.roots[0])
        self.left_out: Mapping[str, int] = {}
        self.layout_name: str | None = self._spec.layout.name
        if request.target is not None:
            if named := _shipped(self._spec.layout):
                self.layout_name = named
            if self.layout_name != request.target:
                shipped_layouts.recast(str(self.layout_name), request.target)
        self._shipped = self.layout_name

    def takes(self) -> Iterator[tuple[Found, Take | RawFileError]]:
        """The clips one after another, the layout by the name that it is shipped under."""
        for found, take in self._takes:
            if isinstance(take, Take) and take.layout.name != self._shipped:
                take = replace(take, layout=replace(take.layout, name=str(self._shipped)))
            if isinstance(take, Take):
                take = replace(take, rate=self._spec.frames_per_second)
            yield found, take

    def columns(self, found: Found, take: Take) -> dict[str, str]:
        """What the manifest says of one clip."""
        return dict(take.labels)

    def source(self, found: Found) -> dict[str, str]:
        """Nothing: its manifest has said all."""
        return {}

    def described(self, rows: Sequence[Mapping[str, str]]) -> tuple[dict[int, str], dict[str, Any]]:
        """Names of classes, and splits, as they were."""
        return dict(self._spec.classes or {}), dict(self._spec.splits)

    def sources(self) -> dict[str, list[str]]:
        """All from where it was."""
        return {"label": [labels.FOUND["itself"]]}


def _shipped(layout: Layout) -> str | None:
    """The name under which a layout is shipped, whatever it is called."""
    return next(
        (name for name in shipped_layouts.names() if replace(layout, name=name) == shipped_layouts.load(name)), None
    )


def _changed(take: Take, request: Request) -> Take:
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
            take = recast.to(take, request.target)
    if np.isnan(take.xyz).all():
        raise Unreadable("no joint is left")
    return take


def _other(found: Found, first: Layout, other: Layout) -> Unreadable:
    odd = [name for name in other.joints if name not in first.joints] or list(other.joints)
    return Unreadable(
        f"is another kind of skeleton than the first recording's, {len(other.joints)} joints and not "
        f"{len(first.joints)}, such as {odd[0]}; convert it into a folder of its own",
    )


def _labelled(rows: list[dict[str, str]], report: Report) -> list[dict[str, str]]:
    """The rows with a label each: when nobody has any all are of one class, else those without are refused."""
    if not any("label" in row for row in rows):
        report.notes["nothing says what the recordings show: one class; --labels or --pattern says it"] = len(rows)
        return [{"label": labels.NAMELESS, **row} for row in rows]
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


def _refused(found: Found, error: RawFileError | Unreadable) -> dict[str, Any]:
    source = error.source if isinstance(error, RawFileError) else ""
    reason = error.reason if isinstance(error, RawFileError) else one_line(str(error))
    file = next((file for file in found.files if str(file) == source), found.file)
    return {"name": shown(found.name), "file": file.name, "line": error.line, "reason": reason}


def _nothing(report: Report) -> SkelepipeError:
    first = "; ".join(str(RawFileError(bad["file"], bad["line"], bad["reason"])) for bad in report.refused[:3])
    return SkelepipeError(f"none of {report.recordings} recordings can be used, nothing written: {first}")
