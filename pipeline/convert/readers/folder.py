"""Read the clips of an existing folder data set."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.convert.tool import ConvertedClip, FoundRecording
from pipeline.errors import RawFileError
from pipeline.skeleton.recording import Recording
from pipeline.skeleton.segments import DEFAULT_FRAME_INDEX
from pipeline.sources.folder.skeleton_toml import SKELETON_TOML, FolderSpec, read_skeleton_toml
from pipeline.sources.folder.source import FolderSource
from pipeline.sources.source import NUMERIC_LABELS, Labels, Reading, Refusal


def read(root: Path) -> tuple[FolderSpec, int, Iterator[tuple[FoundRecording, ConvertedClip | RawFileError]]]:
    """Return a folder's description, its number of recordings, and its clips, or the reason why one cannot be used.

    Raises:
        ArtifactNotFound: there is no such folder.
        ConfigError, LayoutError: the description is invalid.
    """
    source = FolderSource([root])
    entries = source.survey(keep_missing=True).entries

    def clips() -> Iterator[tuple[FoundRecording, ConvertedClip | RawFileError]]:
        for entry in entries:
            try:
                for reading in source.read(entry, DEFAULT_FRAME_INDEX):
                    if isinstance(reading, Refusal):
                        error = RawFileError(str(reading.file), reading.line, reading.reason)
                        yield FoundRecording(reading.name, (entry.file,)), error
                    else:
                        yield FoundRecording(reading.recording.name, (entry.file,)), _to_clip(reading, source)
            except RawFileError as error:
                yield FoundRecording(entry.name, (entry.file,)), error

    return read_skeleton_toml(root / SKELETON_TOML), len(entries), clips()


def _to_clip(reading: Reading, source: FolderSource) -> ConvertedClip:
    recording = reading.recording
    xyz = _rows_to_bodies(recording, recording.xyz)
    xyz[~np.isfinite(xyz).all(axis=3) | (xyz == 0).all(axis=3)] = np.nan
    confidence = None if recording.confidence is None else _rows_to_bodies(recording, recording.confidence)
    return ConvertedClip(layout=source.layout, xyz=xyz, confidence=confidence, labels=_columns(reading.labels, source))


def _rows_to_bodies(recording: Recording, rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Arrange rows (R, ...) as bodies (M, T, ...), NaN where a body is absent."""
    ids, index = np.unique(recording.body, return_inverse=True)
    out = np.full((len(ids), recording.frames, *rows.shape[1:]), np.nan, np.float32)
    out[index, recording.frame] = rows
    return out


def _columns(labels: Labels, source: FolderSource) -> dict[str, str]:
    """Return the manifest columns of a clip, with names instead of the numbers that encode them."""
    extra = dict(zip(source.columns, labels.extra, strict=True))
    numbers = {name: getattr(labels, name) for name in NUMERIC_LABELS}
    values = {
        name: extra.pop(f"{name}_name", "") or ("" if number < 0 else str(number)) for name, number in numbers.items()
    }
    label = {} if labels.label < 0 else {"label": source.classes[labels.label]}
    return {**label, **values, **extra}
