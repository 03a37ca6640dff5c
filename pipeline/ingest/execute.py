"""Run the partitions of an ingest in this process, a process pool or a Dask cluster."""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from pipeline.ingest import dask_cluster, process_pool, work_folder
from pipeline.ingest.partitions import is_finished, partition_path, read_partition
from pipeline.ingest.request import IngestProgress, IngestRequest
from pipeline.sources.registry import open_source
from pipeline.sources.source import Entry

MIN_POOL_BYTES = 256 << 20
"""Below this much text one process is done before others have started: some two seconds, at over 100 MB/s."""


def run_partitions(
    request: IngestRequest,
    members: Mapping[int, Sequence[Entry]],
    place: work_folder.WorkFolder,
    progress: Callable[[IngestProgress], None],
    client: dask_cluster.Cluster | None = None,
) -> int:
    """Bring partitions into the work folder; returns how many recordings an earlier run had done.

    Args:
        request: what the user asks.
        members: the partitions and their recordings.
        place: the work folder.
        progress: is told how far things are.
        client: the connection to a Dask cluster that is to do it.

    Raises:
        WorkerDied: some recordings killed the processes that worked on them, again and again; the rest is done.
        ClusterError: the cluster cannot do it.
        OutputFailed: the disk refuses.
    """
    total_files = sum(len(entries) for entries in members.values())
    total_bytes = sum(entry.size for entries in members.values() for entry in entries)
    files = size = quarantined = 0

    def count(number: int, bad: int) -> None:
        nonlocal files, size, quarantined
        files += len(members[number])
        size += sum(entry.size for entry in members[number])
        quarantined += bad
        progress(
            IngestProgress(
                files=files, total_files=total_files, bytes=size, total_bytes=total_bytes, quarantined=quarantined
            )
        )

    parts = place.parts
    there = {number for number in members if is_finished(partition_path(parts, number), members[number])}
    for number in sorted(there):
        count(number, len(read_partition(partition_path(parts, number)).quarantine))
    resumed = files
    waiting = {number: members[number] for number in members if number not in there}
    if client is not None:
        running = client.run_all(place, waiting, request.dataset, request.roots, request.recipe)
    else:
        open_data = partial(open_source, request.dataset, request.roots)
        workers = worker_count(request, total_bytes - size)
        running = process_pool.process_partitions(parts, waiting, open_data, request.recipe, workers)
    for number, bad in running:
        count(number, bad)
    return resumed


def worker_count(request: IngestRequest, size: int) -> int:
    """Processes for so many bytes of text: what the user says, else all cores when there is much to do."""
    if request.workers is not None:
        return request.workers
    return _cores() if size > MIN_POOL_BYTES else 1


def _cores() -> int:
    """Cores that this process may use: a batch scheduler grants fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
