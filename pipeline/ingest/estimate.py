"""What an ingest will cost, measured on a sample of its own recordings before anything is written."""

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
"""The sample is full with either: a fraction of a second of work, after the compiler's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class IngestEstimate:
    """An ingest's cost, from a sample spread evenly over the recordings."""

    sampled_files: int
    sampled_bytes: int
    quarantined: int
    """Clips of the sample that cannot be used."""
    store_bytes: int
    work_bytes: int
    """Space that is needed while it works: the parts, and the store made of them."""
    free_bytes: int
    """Space where the store will stand."""
    seconds: float


def estimate_ingest(
    data: Source, entries: Sequence[Entry], recipe: Recipe, output: Path, workers: int
) -> IngestEstimate:
    """Parse and clean a sample and scale up what it takes; it is written into a temporary folder that goes again.

    Args:
        data: the data set.
        entries: all its recordings.
        recipe: the recipe.
        output: where the store will stand.
        workers: processes that will share the work; 0 or 1 is one.

    Raises:
        OutputFailed: there is no room even for the sample.
    """
    sample = _spread(entries)
    with tempfile.TemporaryDirectory() as name, disk_errors(Path(name)):
        folder = Path(name)
        process_partition(folder / "warm.npz", sample[:1], data, recipe)  # the first pays for the compiler
        began = time.perf_counter()
        bad = process_partition(folder / "part.npz", sample, data, recipe)
        motion = read_partition_motion(folder / "part.npz")
        parsed = time.perf_counter()
        group = StoreWriter(folder / "sample.zarr", len(data.layout.joints), len(motion))
        group.append(motion)
        group.flush()
        packed = time.perf_counter()
        small = len(read_partition(folder / "part.npz").names) * 4 * len(COLUMNS)
        part_bytes = (folder / "part.npz").stat().st_size
        store_bytes = small + folder_size(folder / "sample.zarr")
    whole, seen = sum(entry.size for entry in entries), sum(entry.size for entry in sample)
    scale = whole / max(seen, 1)
    return IngestEstimate(
        sampled_files=len(sample),
        sampled_bytes=seen,
        quarantined=bad,
        store_bytes=round(store_bytes * scale),
        work_bytes=round((part_bytes + store_bytes) * scale),
        free_bytes=free_bytes(output.absolute().parent),
        seconds=scale * ((parsed - began) / max(workers, 1) + packed - parsed),
    )


def _spread(entries: Sequence[Entry]) -> list[Entry]:
    """Recordings at even distances, as many as make a sample."""
    fit = SAMPLE_BYTES * len(entries) // max(1, sum(entry.size for entry in entries))
    count = min(len(entries), SAMPLE_FILES, max(1, fit))
    return [entries[(2 * n + 1) * len(entries) // (2 * count)] for n in range(count)]
