"""What a conversion reads: the files of a tool, or a folder data set that is there already."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.convert import labels as convert_labels
from pipeline.convert.readers import folder
from pipeline.convert.registry import TOOLS
from pipeline.convert.take import ConvertedClip, FoundRecording, Options, Unreadable
from pipeline.errors import ConfigError, RawFileError, SkelepipeError, printable_name
from pipeline.files import raw_files
from pipeline.skeleton.layout import Layout
from pipeline.skeleton.shipped_layouts import layout_mapping, layout_names, load_layout
from pipeline.sources.folder.skeleton_toml import FolderSpec, skeleton_values


@dataclass(frozen=True, kw_only=True, slots=True)
class ConvertRequest:
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


class Files:
    """What other tools have written."""

    def __init__(self, request: ConvertRequest) -> None:
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
        self._labels = convert_labels.Labels(self._found, self._tool, request.labels, request.pattern)
        self._options = Options(
            units=request.units,
            up=request.up,
            aspect=request.aspect,
            skeleton=skeleton_values(request.skeleton) if request.skeleton else None,
        )
        self.layout_name: str | None = None

    def takes(self) -> Iterator[tuple[FoundRecording, ConvertedClip | RawFileError]]:
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

    def columns(self, found: FoundRecording, take: ConvertedClip) -> dict[str, str]:
        """What is known of one recording."""
        return {**take.labels, **self._labels.of(found)}

    def source(self, found: FoundRecording) -> dict[str, str]:
        """Where it comes from, for a column of its own."""
        return {"source": printable_name(str(found.inner.name if not found.numbers else found.name))}

    @property
    def unused(self) -> int:
        """Rows of the table of labels that name none of the recordings."""
        return self._labels.unused

    def described(self, rows: Sequence[Mapping[str, str]]) -> tuple[dict[int, str], dict[str, Any]]:
        """Names of classes, and splits."""
        names = convert_labels.class_names(self._found, self._tool, [row["label"] for row in rows])
        rules = convert_labels.splits(rows, self._labels.sources)
        return dict(enumerate(names)), {name: {"train": rule} for name, rule in rules.items()}

    def sources(self) -> dict[str, list[str]]:
        """Where the columns come from, in words."""
        return {
            column: [convert_labels.FOUND[source] for source in convert_labels.FOUND if source in held]
            for column, held in self._labels.sources.items()
        }


class Folder:
    """A folder data set that is there already."""

    unused = 0

    def __init__(self, request: ConvertRequest) -> None:
        if len(request.roots) != 1:
            raise ConfigError(f"folder takes one folder at a time, found {len(request.roots)}")
        self._spec: FolderSpec
        self._spec, self.recordings, self._takes = folder.read(request.roots[0])
        self.left_out: Mapping[str, int] = {}
        self.layout_name: str | None = self._spec.layout.name
        if request.target is not None:
            if named := _shipped(self._spec.layout):
                self.layout_name = named
            if self.layout_name != request.target:
                layout_mapping(str(self.layout_name), request.target)
        self._shipped = self.layout_name

    def takes(self) -> Iterator[tuple[FoundRecording, ConvertedClip | RawFileError]]:
        """The clips one after another, the layout by the name that it is shipped under."""
        for found, take in self._takes:
            if isinstance(take, ConvertedClip) and take.layout.name != self._shipped:
                take = replace(take, layout=replace(take.layout, name=str(self._shipped)))
            if isinstance(take, ConvertedClip):
                take = replace(take, rate=self._spec.frames_per_second)
            yield found, take

    def columns(self, found: FoundRecording, take: ConvertedClip) -> dict[str, str]:
        """What the manifest says of one clip."""
        return dict(take.labels)

    def source(self, found: FoundRecording) -> dict[str, str]:
        """Nothing: its manifest has said all."""
        return {}

    def described(self, rows: Sequence[Mapping[str, str]]) -> tuple[dict[int, str], dict[str, Any]]:
        """Names of classes, and splits, as they were."""
        return dict(self._spec.classes or {}), dict(self._spec.splits)

    def sources(self) -> dict[str, list[str]]:
        """All from where it was."""
        return {"label": [convert_labels.FOUND["itself"]]}


def _shipped(layout: Layout) -> str | None:
    """The name under which a layout is shipped, whatever it is called."""
    return next((name for name in layout_names() if replace(layout, name=name) == load_layout(name)), None)
