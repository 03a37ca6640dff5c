"""The two inputs of a conversion: the files of a tool, or an existing folder data set."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from pipeline.convert import labels
from pipeline.convert.readers import folder
from pipeline.convert.registry import TOOLS
from pipeline.convert.tool import ConvertedClip, FoundRecording, Options, Unreadable
from pipeline.errors import ConfigError, RawFileError, SkelepipeError, printable_name
from pipeline.files import raw_files
from pipeline.files.text_paths import request_with_text_paths
from pipeline.skeleton.frame_rate import FRAMES_PER_SECOND, is_resampled
from pipeline.skeleton.layout import Layout
from pipeline.skeleton.shipped_layouts import layout_mapping, layout_names, load_layout
from pipeline.sources.folder.skeleton_toml import skeleton_values


@request_with_text_paths
@dataclass(frozen=True, kw_only=True, slots=True)
class ConvertRequest:
    """Options of a conversion; None means the tool's default."""

    tool: str
    roots: tuple[Path, ...]
    output: Path
    target: str | None = None
    """Name of the layout to convert to."""
    labels: Path | None = None
    """A CSV with the label, subject, ... of each file."""
    pattern: str | None = None
    """A regular expression that finds these in a file's name."""
    every: int = 1
    """Keep every n-th frame."""
    units: str | None = None
    up: str | None = None
    aspect: float | None = None
    skeleton: Path | None = None
    """A TOML with the layout of files whose own joint names are not understood."""


class ConvertInput(Protocol):
    """What a conversion needs from its input."""

    recordings: int
    """Number of recordings."""
    layout_name: str | None
    """Name of the clips' layout; None before the first clip was read."""
    left_out: Mapping[str, int]
    """Number of files that are ignored, by reason."""

    def clips(self) -> Iterator[tuple[FoundRecording, ConvertedClip | RawFileError]]:
        """Yield each recording with its clip, or with the reason why it cannot be used."""

    def manifest_row(self, recording: FoundRecording, clip: ConvertedClip) -> dict[str, str]:
        """Return the columns of manifest.csv for one clip, without its file."""

    def unused_label_rows(self) -> int:
        """Count the rows of --labels that match no recording."""

    def classes_and_splits(self, rows: Sequence[Mapping[str, str]]) -> tuple[dict[int, str], dict[str, Any]]:
        """Return the class names by label, and the splits with their sides."""

    def column_sources(self) -> dict[str, list[str]]:
        """Describe for each column of manifest.csv where its values come from."""


class ToolFiles:
    """The files of a pose estimator or a capture tool."""

    def __init__(self, request: ConvertRequest) -> None:
        self._tool = TOOLS[request.tool]
        raw = raw_files.find(request.roots)
        table = request.labels and Path(os.path.realpath(request.labels))
        files = [file for file in raw.files if file.member or Path(os.path.realpath(file.path)) != table]
        self._recordings = sorted(self._tool.find(files), key=lambda one: (one.name, str(one.file)))
        left_out = Counter(raw.left_out)
        used = sum(len(one.files) for one in self._recordings)
        if used < len(files):
            left_out[f"other than {self._tool.takes}"] = len(files) - used
        if not self._recordings:
            raise SkelepipeError(
                f"{', '.join(map(str, request.roots))}: no file of {request.tool} found; expected {self._tool.takes}"
                + "".join(f"; left out, {reason}: {count}" for reason, count in sorted(left_out.items()))
            )
        self.left_out: Mapping[str, int] = left_out
        self.recordings = len(self._recordings)
        self._labels = labels.LabelLookup(self._recordings, self._tool, request.labels, request.pattern)
        self._options = Options(
            units=request.units,
            up=request.up,
            aspect=request.aspect,
            skeleton=skeleton_values(request.skeleton) if request.skeleton else None,
        )
        self.layout_name: str | None = None

    def clips(self) -> Iterator[tuple[FoundRecording, ConvertedClip | RawFileError]]:
        """Read the recordings in the order of their names."""
        for recording in self._recordings:
            try:
                with np.errstate(all="ignore"):  # absurdly large numbers become infinite, which counts as missing
                    clip = self._tool.read(recording, self._options)
                self.layout_name = clip.layout.name
                yield recording, clip
            except RawFileError as error:
                yield recording, error
            except Unreadable as error:
                yield recording, RawFileError(str(recording.file), error.line, str(error))

    def manifest_row(self, recording: FoundRecording, clip: ConvertedClip) -> dict[str, str]:
        """Return the labels that are known, and the source file."""
        source = printable_name(str(recording.inner.name if not recording.numbers else recording.name))
        return {**clip.labels, **self._labels.look_up(recording), "source": source}

    def unused_label_rows(self) -> int:
        """Count the rows of --labels that match no recording."""
        return self._labels.unused_rows()

    def classes_and_splits(self, rows: Sequence[Mapping[str, str]]) -> tuple[dict[int, str], dict[str, Any]]:
        """Derive the class names and the splits from the labels."""
        names = labels.class_names(self._recordings, self._tool, [row["label"] for row in rows if "label" in row])
        rules = labels.split_rules(rows, self._labels.sources)
        return dict(enumerate(names)), {name: {"train": rule} for name, rule in rules.items()}

    def column_sources(self) -> dict[str, list[str]]:
        """Describe for each column where its values come from."""
        return {
            column: [description for source, description in labels.SOURCES.items() if source in sources]
            for column, sources in self._labels.sources.items()
        }


class FolderDataSet:
    """An existing folder data set, to be written in another layout."""

    def __init__(self, request: ConvertRequest) -> None:
        if len(request.roots) != 1:
            raise ConfigError(f"folder takes one folder at a time, found {len(request.roots)}")
        self._spec, self.recordings, self._clips = folder.read(request.roots[0])
        rate = self._spec.frames_per_second
        self._rate = FRAMES_PER_SECOND if is_resampled(rate) else rate
        self.left_out: Mapping[str, int] = {}
        self.layout_name: str | None = self._spec.layout.name
        if request.target is not None:
            if name := _shipped_name(self._spec.layout):
                self.layout_name = name
            if self.layout_name != request.target:
                layout_mapping(str(self.layout_name), request.target)

    def clips(self) -> Iterator[tuple[FoundRecording, ConvertedClip | RawFileError]]:
        """Yield each clip; its layout has the name of the shipped layout that it equals, if there is one."""
        for recording, clip in self._clips:
            if isinstance(clip, ConvertedClip):
                layout = replace(clip.layout, name=str(self.layout_name))
                clip = replace(clip, layout=layout, rate=self._rate)
            yield recording, clip

    def manifest_row(self, recording: FoundRecording, clip: ConvertedClip) -> dict[str, str]:
        """Return the columns that the clip has in the existing manifest.csv."""
        return dict(clip.labels)

    def unused_label_rows(self) -> int:
        """Return 0: --labels does not apply to a folder data set."""
        return 0

    def classes_and_splits(self, rows: Sequence[Mapping[str, str]]) -> tuple[dict[int, str], dict[str, Any]]:
        """Return the class names and splits of the existing skeleton.toml."""
        return dict(self._spec.classes or {}), dict(self._spec.splits)

    def column_sources(self) -> dict[str, list[str]]:
        """Name the data set itself as the source of the labels."""
        return {"label": [labels.SOURCES["itself"]]}


def _shipped_name(layout: Layout) -> str | None:
    """Return the name of the shipped layout that equals a layout in everything but the name."""
    return next((name for name in layout_names() if replace(layout, name=name) == load_layout(name)), None)
