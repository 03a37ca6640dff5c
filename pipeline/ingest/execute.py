"""Run the partitions of an ingest in this process, in a process pool or on a Dask cluster."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from pipeline.files.cgroups import usable_cores
from pipeline.ingest import dask_cluster, process_pool
from pipeline.ingest.partitions import is_finished, partition_path, read_partition
from pipeline.ingest.request import IngestProgress, IngestRequest
from pipeline.ingest.work_folder import WorkFolder
from pipeline.sources.registry import open_source
from pipeline.sources.source import Entry

MIN_POOL_BYTES = 256 << 20
"""With less text, one process ends before worker processes have started: about two seconds, at over 100 MB/s."""


def run_partitions(
    request: IngestRequest,
    partitions: Mapping[int, Sequence[Entry]],
    work: WorkFolder,
    progress: Callable[[IngestProgress], None],
    client: dask_cluster.Cluster | None = None,
) -> int:
    """Process all partitions that are not finished yet; return the number of recordings that already were.

    Args:
        request: the options of the ingest.
        partitions: the recordings of each partition, by number.
        work: the work folder.
        progress: is called with the totals after each partition.
        client: the Dask cluster to use instead of this machine.

    Raises:
        WorkerDied: some recordings repeatedly killed the processes that worked on them; all others are finished.
        ClusterError: the cluster cannot do the work.
        OutputFailed: the disk refuses.
    """
    total_files = sum(len(entries) for entries in partitions.values())
    total_bytes = sum(entry.size for entries in partitions.values() for entry in entries)
    files = size = quarantined = 0

    def count(number: int, bad: int) -> None:
        nonlocal files, size, quarantined
        files += len(partitions[number])
        size += sum(entry.size for entry in partitions[number])
        quarantined += bad
        progress(
            IngestProgress(
                files=files, total_files=total_files, bytes=size, total_bytes=total_bytes, quarantined=quarantined
            )
        )

    folder = work.partitions
    finished = {number for number in partitions if is_finished(partition_path(folder, number), partitions[number])}
    for number in sorted(finished):
        count(number, len(read_partition(partition_path(folder, number)).quarantine))
    resumed = files
    pending = {number: partitions[number] for number in partitions if number not in finished}
    if client is not None:
        running = client.run_all(work, pending, request.dataset, request.roots, request.recipe)
    else:
        open_data = partial(open_source, request.dataset, request.roots)
        workers = worker_count(request, total_bytes - size)
        running = process_pool.process_partitions(folder, pending, open_data, request.recipe, workers)
    for number, bad in running:
        count(number, bad)
    return resumed


def worker_count(request: IngestRequest, size: int) -> int:
    """Return the number of processes for `size` bytes of text: as requested, otherwise all cores if that pays off."""
    if request.workers is not None:
        return request.workers
    return usable_cores() if size > MIN_POOL_BYTES else 1
