"""A folder data set that is there already, clip by clip, to be written in another layout."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.convert.take import ConvertedClip, FoundRecording
from pipeline.errors import RawFileError
from pipeline.skeleton.recording import Recording
from pipeline.skeleton.segments import DEFAULT_FRAME_INDEX
from pipeline.sources.folder.skeleton_toml import SKELETON_TOML, FolderSpec, read_skeleton_toml
from pipeline.sources.folder.source import FolderSource
from pipeline.sources.source import NUMERIC_LABELS, Labels, Reading, Refusal


def read(root: Path) -> tuple[FolderSpec, int, Iterator[tuple[FoundRecording, ConvertedClip | RawFileError]]]:
    """What describes a folder, how many recordings it has, and its clips or why one cannot be used.

    Raises:
        ArtifactNotFound: there is no such folder.
        ConfigError, LayoutError: what describes it is wrong.
    """
    source = FolderSource([root])
    entries = source.survey(keep_missing=True).entries

    def clips() -> Iterator[tuple[FoundRecording, ConvertedClip | RawFileError]]:
        for entry in entries:
            try:
                for one in source.read(entry, DEFAULT_FRAME_INDEX):
                    found = FoundRecording(one.name if isinstance(one, Refusal) else one.recording.name, (entry.file,))
                    if isinstance(one, Refusal):
                        yield found, RawFileError(str(one.file), one.line, one.reason)
                    else:
                        yield found, _take(one, source)
            except RawFileError as error:
                yield FoundRecording(entry.name, (entry.file,)), error

    return read_skeleton_toml(root / SKELETON_TOML), len(entries), clips()


def _take(reading: Reading, source: FolderSource) -> ConvertedClip:
    recording = reading.recording
    xyz = _bodies(recording, recording.xyz)
    xyz[~np.isfinite(xyz).all(axis=3) | (xyz == 0).all(axis=3)] = np.nan
    sure = None if recording.confidence is None else _bodies(recording, recording.confidence)
    return ConvertedClip(layout=source.layout, xyz=xyz, confidence=sure, labels=_columns(reading.labels, source))


def _bodies(recording: Recording, rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """(M, T, ...) of what is known of rows (R, ...), NaN where a body is not there."""
    ids, who = np.unique(recording.body, return_inverse=True)
    out = np.full((len(ids), recording.frames, *rows.shape[1:]), np.nan, np.float32)
    out[who, recording.frame] = rows
    return out


def _columns(labels: Labels, source: FolderSource) -> dict[str, str]:
    """What the manifest says of a clip, names in the place of the numbers that stand for them."""
    extra = dict(zip(source.columns, labels.extra, strict=True))
    numbers = {name: getattr(labels, name) for name in NUMERIC_LABELS}
    told = {
        name: extra.pop(f"{name}_name", "") or ("" if number < 0 else str(number)) for name, number in numbers.items()
    }
    return {"label": source.classes[labels.label], **told, **extra}
