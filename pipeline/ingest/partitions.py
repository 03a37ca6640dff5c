"""The parallel part of an ingest: recordings are parsed and cleaned in partitions of fixed size.

A partition's result is one file in a work folder beside the output, complete or not there at all, so an interrupted run
goes on where it stopped. Who runs them: pool.py on this machine, cluster.py on others.
"""

import errno
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ArtifactError
from pipeline.files import atomic, raw_files
from pipeline.recipes.clips import process_recording
from pipeline.recipes.recipe import Recipe
from pipeline.skeleton.recording import STEP_COUNTS, Clip
from pipeline.sources.source import NUMBERED, Entry, Reading, Refusal, Source, combined_crc32
from pipeline.store.columns import COLUMNS

MAX_RECORDINGS, MAX_BYTES = 256, 64 << 20
"""A partition is full with either: a second of work or less, so an interruption costs little and memory stays flat."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Partition:
    """A finished partition without its motion."""

    names: list[str]
    recordings: list[str]
    """The recording that each clip comes from."""
    extra: list[list[str]]
    """For each clip the values of the source's own columns."""
    columns: NDArray[np.int64]
    """(clips, len(store.COLUMNS)), in that order."""
    quarantine: list[dict[str, Any]]
    """name, recording, file, line (0 when none), reason, size, crc32 of each clip that could not be used."""
    stamps: list[list[Any]]
    confidence: NDArray[np.float32] | None = None
    """(clips, V) mean confidence of each joint, NaN in a clip without; None where no clip has any."""


def split_into_partitions(entries: Sequence[Entry]) -> dict[int, Sequence[Entry]]:
    """The recordings of every partition, by its number."""
    members: list[list[Entry]] = []
    size = 0
    for entry in entries:
        if not members or len(members[-1]) == MAX_RECORDINGS or size + entry.size > MAX_BYTES:
            members.append([])
            size = 0
        members[-1].append(entry)
        size += entry.size
    return dict(enumerate(members))


def partition_path(work: Path, number: int) -> Path:
    """Where a partition's result lies."""
    return work / f"part-{number:05d}.npz"


def process_partition(part: Path, entries: Sequence[Entry], data: Source, chosen: Recipe) -> int:
    """Parse and clean some recordings and keep the result as one file.

    Returns:
        How many clips were quarantined; a recording that cannot be read counts as one.

    Raises:
        OutputFailed: the disk refuses.
    """
    stamps = []
    names, recordings, extra, motion, columns, quarantine = [], [], [], [], [], []
    confidence: list[NDArray[np.float32] | None] = []
    V = len(data.layout.joints)
    for entry in entries:
        stamps.append(_stamp(entry))
        for found in process_recording(entry, data, chosen):
            if isinstance(found, Refusal):
                quarantine.append(_quarantined(entry, found))
            else:
                reading, clip = found
                names.append(clip.name)
                recordings.append(entry.name)
                extra.append(reading.labels.extra)
                motion.append(clip.xyz.reshape(-1, V, 3))
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
        "xyz": np.concatenate(motion) if motion else np.empty((0, V, 3), np.float32),
    }
    if any(means is not None for means in confidence):
        unknown = np.full(V, np.nan, np.float32)
        arrays["confidence"] = np.array([unknown if means is None else means for means in confidence], np.float32)
    atomic.write_file(
        part,
        lambda handle: np.savez(handle, **arrays),  # type: ignore[arg-type]
        needed=sum(array.nbytes for array in arrays.values()),
        new_folder=False,  # gone: this is a straggler, its run has ended
    )
    return len(quarantine)


def is_finished(part: Path, entries: Sequence[Entry]) -> bool:
    """Whether a partition is there, whole, and its recordings have not been touched since."""
    try:
        return part.is_file() and read_partition(part).stamps == [_stamp(entry) for entry in entries]
    except ArtifactError:
        return False


def changed_recordings(part: Path, entries: Sequence[Entry]) -> list[str]:
    """The recordings of a partition that have been touched since; none when it is not there, or not whole."""
    try:
        stamps = read_partition(part).stamps if part.is_file() else []
    except ArtifactError:
        return []
    now = [_stamp(entry) for entry in entries]
    return [before[0] for before in stamps if before not in now]


def read_partition(part: Path) -> Partition:
    """A finished partition without its motion.

    Raises:
        ArtifactError: it is damaged.
    """
    with _opened(part) as kept:
        confidence = kept["confidence"] if "confidence" in kept.files else None
        return Partition(columns=kept["columns"], confidence=confidence, **json.loads(kept["note"].tobytes()))


def read_partition_motion(part: Path) -> NDArray[np.float32]:
    """A finished partition's body-frames, (F, V, 3) metres, clip after clip, body after body.

    Raises:
        ArtifactError: it is damaged.
    """
    with _opened(part) as kept:
        motion: NDArray[np.float32] = kept["xyz"]
    return motion


@contextmanager
def _opened(part: Path) -> Iterator[Any]:
    """A partition's arrays; the .npz has a crc32 on each, so a flipped bit is noticed when it is read."""
    try:
        with part.open("rb") as handle, np.load(handle, allow_pickle=False) as kept:  # noqa: TID251 (allow_pickle=False)
            yield kept
    except Exception as error:  # numpy and zipfile raise nearly anything over a damaged file
        if isinstance(error, OSError) and error.errno not in {None, errno.EINVAL}:
            raise  # it is the disk's fault; a damaged zip has no number, or asks for a place before its beginning
        raise ArtifactError(f"{part}: damaged ({error}); remove it and run the same command again") from error


def _column_values(entry: Entry, reading: Reading, clip: Clip) -> list[int]:
    """One clip's values in the order of the store's columns."""
    values = {
        "bodies": clip.xyz.shape[0],
        "frames": clip.xyz.shape[1],
        "start": reading.start,
        "source_size": entry.size,
        "source_crc32": reading.crc32,
    }
    values |= {name: getattr(reading.labels, name) for name in ("label", *NUMBERED)}
    values |= {f"quality_{count}": clip.step_counts[count] + reading.step_counts.get(count, 0) for count in STEP_COUNTS}
    return [values[spec.name] for spec in COLUMNS]


def _quarantined(entry: Entry, refusal: Refusal) -> dict[str, Any]:
    return {
        "name": refusal.name,
        "recording": entry.name,
        # A file beside the recording may share its name: PKU-MMD's labels do.
        "file": refusal.file.name if refusal.file not in entry.beside else f"{refusal.file.folder}/{refusal.file.name}",
        "line": refusal.line,
        "reason": refusal.reason,
        "size": entry.size,
        "crc32": combined_crc32([raw_files.crc32(file) for file in entry.files]),
    }


def _stamp(entry: Entry) -> list[Any]:
    """What tells that a recording has not been touched."""
    return [entry.name, [raw_files.stamp(file) for file in entry.files]]
