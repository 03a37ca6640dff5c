"""Estimate the time and disk space of an ingest from a sample of its recordings (dry run)."""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.files.disk import disk_errors, folder_size, free_bytes
from pipeline.ingest.partitions import process_partition, read_partition, read_partition_motion
from pipeline.recipes.recipe import Recipe
from pipeline.sources.source import Entry, Source
from pipeline.store.columns import COLUMNS
from pipeline.store.writer import StoreWriter

SAMPLE_FILES, SAMPLE_BYTES = 64, 32 << 20
"""Limits of the sample: a fraction of a second of work, once the kernels are compiled."""


@dataclass(frozen=True, kw_only=True, slots=True)
class IngestEstimate:
    """Estimated cost of an ingest, from a sample spread evenly over the recordings."""

    sampled_files: int
    sampled_bytes: int
    quarantined: int
    """Clips of the sample that were quarantined."""
    store_bytes: int
    work_bytes: int
    """Disk space needed during the ingest: for the partitions and the store."""
    free_bytes: int
    """Free disk space in the output's folder."""
    seconds: float


def estimate_ingest(
    data: Source, entries: Sequence[Entry], recipe: Recipe, output: Path, workers: int
) -> IngestEstimate:
    """Parse and clean a sample in a temporary folder, and scale up its time and size.

    Args:
        data: the data set.
        entries: all its recordings.
        recipe: the recipe.
        output: the path of the store.
        workers: processes that share the work; 0 and 1 both mean one.

    Raises:
        OutputFailed: there is not even room for the sample.
    """
    sample = _choose_sample(entries)
    with tempfile.TemporaryDirectory() as name, disk_errors(Path(name)):
        _ingest_sample(Path(name) / "first", data, sample, recipe)  # compiles all kernels that the sample needs
        measured = _ingest_sample(Path(name) / "second", data, sample, recipe)
    total_bytes, sampled_bytes = sum(entry.size for entry in entries), sum(entry.size for entry in sample)
    scale = total_bytes / max(sampled_bytes, 1)
    return IngestEstimate(
        sampled_files=len(sample),
        sampled_bytes=sampled_bytes,
        quarantined=measured.quarantined,
        store_bytes=round(measured.store_bytes * scale),
        work_bytes=round((measured.partition_bytes + measured.store_bytes) * scale),
        free_bytes=free_bytes(output.absolute().parent),
        seconds=scale * (measured.parse_seconds / max(workers, 1) + measured.write_seconds),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _MeasuredSample:
    """Cost of ingesting a sample."""

    quarantined: int
    partition_bytes: int
    store_bytes: int
    parse_seconds: float
    """Reading and cleaning, which several processes share."""
    write_seconds: float


def _ingest_sample(folder: Path, data: Source, sample: Sequence[Entry], recipe: Recipe) -> _MeasuredSample:
    """Ingest a sample into a new folder, and measure it."""
    folder.mkdir()
    started = time.perf_counter()
    quarantined = process_partition(folder / "part.npz", sample, data, recipe)
    partition = read_partition(folder / "part.npz")
    parsed = time.perf_counter()
    writer = StoreWriter(folder / "sample.zarr", len(data.layout.joints), partition.body_frames)
    for block in read_partition_motion(folder / "part.npz"):
        writer.append(block)
    writer.flush()
    written = time.perf_counter()
    return _MeasuredSample(
        quarantined=quarantined,
        partition_bytes=(folder / "part.npz").stat().st_size,
        store_bytes=len(partition.names) * 4 * len(COLUMNS) + folder_size(folder / "sample.zarr"),
        parse_seconds=parsed - started,
        write_seconds=written - parsed,
    )


def _choose_sample(entries: Sequence[Entry]) -> list[Entry]:
    """Choose recordings at even distances, within the limits of a sample."""
    fitting = SAMPLE_BYTES * len(entries) // max(1, sum(entry.size for entry in entries))
    count = min(len(entries), SAMPLE_FILES, max(1, fitting))
    return [entries[(2 * n + 1) * len(entries) // (2 * count)] for n in range(count)]
