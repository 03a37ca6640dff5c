"""Partitions of an ingest: parse and clean a fixed number of recordings, and store the result as one .npz file.

The file appears in the work folder whole or not at all, so an interrupted ingest can resume. Partitions run in
parallel: process_pool.py runs them on this machine, dask_cluster.py on others.
"""

import errno
import json
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ArtifactError
from pipeline.files import atomic, raw_files, regular_files
from pipeline.files.disk import disk_errors
from pipeline.ingest.motion_spool import MotionSpool, read_npy_blocks
from pipeline.recipes.clips import process_recording
from pipeline.recipes.recipe import Recipe
from pipeline.skeleton.recording import STEP_COUNTS, Clip
from pipeline.sources.source import NUMERIC_LABELS, Entry, Reading, Refusal, Source, combined_crc32
from pipeline.store.columns import COLUMNS

MAX_RECORDINGS, MAX_BYTES = 256, 64 << 20
"""Limits of a partition: at most a second of work, so that an interruption costs little and memory use stays flat."""
MOTION = "xyz.npy"
"""Member of a partition's .npz with the positions of all its clips."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Partition:
    """A finished partition without its positions."""

    names: list[str]
    recordings: list[str]
    """The recording of each clip."""
    extra: list[list[str]]
    """Values of the columns that only this data source has, for each clip."""
    columns: NDArray[np.int64]
    """(clips, len(COLUMNS)), in the order of `store.columns.COLUMNS`."""
    quarantine: list[dict[str, Any]]
    """name, recording, file, line (0 when none), reason, size, crc32 of each clip that could not be used."""
    stamps: list[list[Any]]
    confidence: NDArray[np.float32] | None = None
    """(clips, V) mean confidence of each joint, NaN for a clip without confidence; None if no clip has any."""

    @property
    def body_frames(self) -> int:
        """Body-frames of all clips."""
        names = [spec.name for spec in COLUMNS]
        return int((self.columns[:, names.index("bodies")] * self.columns[:, names.index("frames")]).sum())


def split_into_partitions(entries: Sequence[Entry]) -> dict[int, Sequence[Entry]]:
    """Divide the recordings into partitions, numbered from 0."""
    partitions: list[list[Entry]] = []
    size = 0
    for entry in entries:
        if not partitions or len(partitions[-1]) == MAX_RECORDINGS or size + entry.size > MAX_BYTES:
            partitions.append([])
            size = 0
        partitions[-1].append(entry)
        size += entry.size
    return dict(enumerate(partitions))


def partition_path(folder: Path, number: int) -> Path:
    """Return the file of a partition."""
    return folder / f"part-{number:05d}.npz"


def process_partition(path: Path, entries: Sequence[Entry], data: Source, recipe: Recipe) -> int:
    """Parse and clean recordings and write the result to `path`.

    Returns:
        The number of quarantined clips; an unreadable recording counts as one.

    Raises:
        OutputFailed: the disk refuses.
    """
    with MotionSpool(path.parent, len(data.layout.joints)) as motion:
        return _process_partition(path, entries, data, recipe, motion)


def _process_partition(path: Path, entries: Sequence[Entry], data: Source, recipe: Recipe, motion: MotionSpool) -> int:
    stamps = []
    names, recordings, extra, columns, quarantine = [], [], [], [], []
    confidence: list[NDArray[np.float32] | None] = []
    for entry in entries:
        stamps.append(_stamp(entry))
        checksum = cache(partial(_checksum, entry))
        for result in process_recording(entry, data, recipe):
            if isinstance(result, Refusal):
                quarantine.append(_quarantine_record(entry, result, checksum()))
            else:
                reading, clip = result
                with disk_errors(path, motion.nbytes + clip.xyz.nbytes):
                    motion.append(clip.xyz)
                names.append(clip.name)
                recordings.append(entry.name)
                extra.append(reading.labels.extra)
                columns.append(_column_values(entry, reading, clip))
                confidence.append(reading.recording.mean_confidence)
    note = {
        "names": names,
        "recordings": recordings,
        "extra": extra,
        "quarantine": quarantine,
        "stamps": stamps,
    }
    arrays: dict[str, NDArray[Any]] = {
        "note": np.frombuffer(json.dumps(note).encode(), np.uint8),
        "columns": np.array(columns, np.int64).reshape(len(names), len(COLUMNS)),
    }
    if any(means is not None for means in confidence):
        unknown = np.full(len(data.layout.joints), np.nan, np.float32)
        arrays["confidence"] = np.array([unknown if means is None else means for means in confidence], np.float32)

    def write(handle: BinaryIO) -> None:
        with zipfile.ZipFile(handle, "w") as archive:
            for name, array in arrays.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)
            with archive.open(MOTION, "w", force_zip64=True) as member:
                motion.write_npy(member)

    atomic.write_file(
        path,
        write,
        needed=motion.nbytes + sum(array.nbytes for array in arrays.values()),
        new_folder=False,  # without the folder, this is a late worker of an ingest that has ended
    )
    return len(quarantine)


def is_finished(path: Path, entries: Sequence[Entry]) -> bool:
    """Return whether a partition exists, is undamaged, and its recordings have not been modified since."""
    try:
        return path.is_file() and read_partition(path).stamps == [_stamp(entry) for entry in entries]
    except ArtifactError:
        return False


def changed_recordings(path: Path, entries: Sequence[Entry]) -> list[str]:
    """Return a partition's recordings that have been modified since; empty if it is missing or damaged."""
    try:
        stamps = read_partition(path).stamps if path.is_file() else []
    except ArtifactError:
        return []
    current = [_stamp(entry) for entry in entries]
    return [stamp[0] for stamp in stamps if stamp not in current]


def read_partition(path: Path) -> Partition:
    """Read a finished partition without its positions.

    Raises:
        ArtifactError: it is damaged.
    """
    with _open_npz(path) as npz:
        confidence = npz["confidence"] if "confidence" in npz.files else None
        return Partition(columns=npz["columns"], confidence=confidence, **json.loads(npz["note"].tobytes()))


def read_partition_motion(path: Path) -> Iterator[NDArray[np.float32]]:
    """Yield a finished partition's positions in blocks (F, V, 3): body-frames in metres, clip after clip, body by body.

    Raises:
        ArtifactError: it is damaged.
    """
    with _open_npz(path) as npz, npz.zip.open(MOTION) as member:
        yield from read_npy_blocks(member)


@contextmanager
def _open_npz(path: Path) -> Iterator[Any]:
    """Open a partition's arrays; each has a CRC-32 in the .npz, so reading detects flipped bits."""
    try:
        with regular_files.open_buffered(path) as handle, np.load(handle, allow_pickle=False) as npz:  # noqa: TID251 (allow_pickle=False)
            yield npz
    except MemoryError:
        raise
    except Exception as error:  # numpy and zipfile raise many kinds of exceptions for a damaged file
        if isinstance(error, OSError) and error.errno not in {None, errno.EINVAL}:
            raise  # a disk error; for a damaged zip, errno is None, or EINVAL after a seek to a negative offset
        raise ArtifactError(f"{path}: damaged ({error}); remove it and run the same command again") from error


def _column_values(entry: Entry, reading: Reading, clip: Clip) -> list[int]:
    """Return one clip's values in the order of the store's columns."""
    values = {
        "bodies": clip.xyz.shape[0],
        "frames": clip.xyz.shape[1],
        "start": reading.start,
        "source_size": entry.size,
        "source_crc32": reading.crc32,
    }
    values |= {name: getattr(reading.labels, name) for name in ("label", *NUMERIC_LABELS)}
    values |= {f"quality_{count}": clip.step_counts[count] + reading.step_counts.get(count, 0) for count in STEP_COUNTS}
    return [values[spec.name] for spec in COLUMNS]


def _quarantine_record(entry: Entry, refusal: Refusal, crc32: int) -> dict[str, Any]:
    return {
        "name": refusal.name,
        "recording": entry.name,
        # An accompanying file may have the same name as the recording: the labels of PKU-MMD do.
        "file": f"{refusal.file.folder}/{refusal.file.name}" if refusal.file in entry.companions else refusal.file.name,
        "line": refusal.line,
        "reason": refusal.reason,
        "size": entry.size,
        "crc32": crc32,
    }


def _checksum(entry: Entry) -> int:
    """Return the crc32 of a recording, which reads its files."""
    return combined_crc32([raw_files.crc32(file) for file in entry.files])


def _stamp(entry: Entry) -> list[Any]:
    """Return the state of a recording's files, which changes when one of them is modified."""
    return [entry.name, [raw_files.fingerprint(file) for file in entry.files]]
