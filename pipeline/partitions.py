"""The parallel part of an ingest: recordings are parsed and cleaned in partitions of fixed size.

A partition's result is one file in a work folder beside the output, complete or not there at all, so an interrupted run
goes on where it stopped.
"""

import importlib.metadata
import json
import multiprocessing
import os
import shutil
import signal
import threading
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import manifest, publish, recipe, store
from pipeline.datasets import source
from pipeline.errors import ArtifactError, OutputFailed, RawFileError, UnusableClip
from pipeline.recipe import Recipe
from pipeline.recording import QUALITY
from pipeline.source import Entry, Labels

PARTITION = 256
"""Recordings a partition: some 65 MB of text, about a second of work, so an interruption costs little."""
PLAN = "plan.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """A finished partition without its motion."""

    names: list[str]
    columns: NDArray[np.int64]
    """(clips, len(store.COLUMNS)), in that order."""
    quarantine: list[dict[str, Any]]
    """name, file, line (0 when none), reason, size, crc32 of each recording that could not be used."""
    stamps: list[list[Any]]


def plan(dataset: str, chosen: Recipe, entries: Sequence[Entry]) -> bytes:
    """All that the partitions depend on, as canonical JSON: a work folder serves one plan only."""
    return manifest.canonical(
        {
            "format_version": store.FORMAT_VERSION,
            "tool": importlib.metadata.version("skelepipe"),
            "dataset": dataset,
            "recipe": chosen.resolved,
            "partition": PARTITION,
            "entries": [[entry.name, str(entry.path.absolute()), entry.size] for entry in entries],
        }
    )


def prepare(output: Path, plan: bytes) -> Path:
    """The work folder of one plan beside `output`; what another plan left there is thrown away.

    Raises:
        OutputFailed: the disk refuses.
    """
    work = _work(output)
    with publish.disk_errors(output):
        if not _serves(work, plan):
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir(parents=True)
            publish.write_file(work / PLAN, plan)
        for partial in work.glob(".*.partial"):
            partial.unlink()
    return work


def forget(output: Path, plan: bytes) -> None:
    """Remove the work folder of a plan whose store is published: a run killed right after publishing leaves it."""
    if _serves(_work(output), plan):
        shutil.rmtree(_work(output), ignore_errors=True)


def _work(output: Path) -> Path:
    return output.with_name(f".{output.name}.work")


def _serves(work: Path, plan: bytes) -> bool:
    return (work / PLAN).is_file() and (work / PLAN).read_bytes() == plan


def split(entries: Sequence[Entry]) -> dict[int, Sequence[Entry]]:
    """The recordings of every partition, by its number."""
    return {start // PARTITION: entries[start : start + PARTITION] for start in range(0, len(entries), PARTITION)}


def path(work: Path, number: int) -> Path:
    """Where a partition's result lies."""
    return work / f"part-{number:05d}.npz"


def run_all(
    work: Path, waiting: Mapping[int, Sequence[Entry]], dataset: str, chosen: Recipe, workers: int
) -> Iterator[tuple[int, int]]:
    """Run partitions, here or in worker processes; yields each one's number and how many recordings it quarantined.

    Raises:
        OutputFailed: the disk refuses, or a worker process died.
    """
    if workers <= 1:
        for number, members in waiting.items():
            yield number, run(path(work, number), members, dataset, chosen)
        return
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, spawn, initializer=_enter_worker) as pool:
        running = {
            pool.submit(run, path(work, number), members, dataset, chosen): number
            for number, members in waiting.items()
        }
        try:
            for finished in as_completed(running):
                yield running[finished], finished.result()
        except BrokenProcessPool as error:
            raise OutputFailed(
                f"{work}: a worker process died (out of memory?); run the same command again to go on, "
                "with fewer --workers if it dies again"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _enter_worker() -> None:
    """Leave Ctrl-C to the parent and end when it does: a pool's workers outlive a parent that was killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)


def run(part: Path, entries: Sequence[Entry], dataset: str, chosen: Recipe) -> int:
    """Parse and clean some recordings and keep the result as one file.

    Returns:
        How many recordings were quarantined.

    Raises:
        OutputFailed: the disk refuses.
    """
    data = source(dataset)
    names, columns, motion, quarantine, stamps = [], [], [], [], []
    for entry in entries:
        stamps.append(_stamp(entry))
        try:
            reading = data.read(entry)
            clip = recipe.apply(chosen, reading.recording)
        except (RawFileError, UnusableClip) as error:
            line, reason = (error.line, error.reason) if isinstance(error, RawFileError) else (0, str(error))
            quarantine.append(
                {
                    "name": entry.name,
                    "file": entry.path.name,
                    "line": line,
                    "reason": reason,
                    "size": entry.size,
                    "crc32": data.crc32(entry),
                }
            )
            continue
        names.append(entry.name)
        columns.append(_column_values(clip.xyz.shape, reading.labels, reading.size, reading.crc32, clip.quality))
        motion.append(clip.xyz.reshape(-1, *clip.xyz.shape[2:]))
    note = json.dumps({"names": names, "quarantine": quarantine, "stamps": stamps}).encode()
    publish.write_file(
        part,
        lambda handle: np.savez(
            handle,
            note=np.frombuffer(note, np.uint8),
            columns=np.array(columns, np.int64).reshape(len(names), len(store.COLUMNS)),
            xyz=np.concatenate(motion) if motion else np.empty((0, len(data.layout.joints), 3), np.float32),
        ),
    )
    return len(quarantine)


def finished(part: Path, entries: Sequence[Entry]) -> bool:
    """Whether a partition is there, whole, and its recordings have not been touched since."""
    try:
        return part.is_file() and read(part).stamps == [_stamp(entry) for entry in entries]
    except ArtifactError:
        return False


def read(part: Path) -> Part:
    """A finished partition without its motion.

    Raises:
        ArtifactError: it is damaged.
    """
    with _opened(part) as kept:
        return Part(columns=kept["columns"], **json.loads(kept["note"].tobytes()))


def read_motion(part: Path) -> NDArray[np.float32]:
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
        with part.open("rb") as handle, np.load(handle, allow_pickle=False) as kept:
            yield kept
    except (zipfile.BadZipFile, ValueError, KeyError, EOFError) as error:
        raise ArtifactError(
            f"{part}: damaged ({error}); remove {part.parent} and run the same command again"
        ) from error


def _column_values(
    shape: Sequence[int], labels: Labels, size: int, crc32: int, quality: Mapping[str, int]
) -> list[int]:
    """One clip's values in the order of the store's columns."""
    values = {"bodies": shape[0], "frames": shape[1], "source_size": size, "source_crc32": crc32}
    values |= {name: getattr(labels, name) for name in ("label", "subject", "camera", "setup", "replication")}
    values |= {f"quality_{count}": quality[count] for count in QUALITY}
    return [values[spec.name] for spec in store.COLUMNS]


def _stamp(entry: Entry) -> list[Any]:
    """What tells that a recording has not been touched: its name, size and time of change; None when it is gone."""
    try:
        status = entry.path.stat()
    except OSError:
        return [entry.name, None, None]
    return [entry.name, status.st_size, status.st_mtime_ns]
