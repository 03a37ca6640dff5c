"""Process partitions in a pool of worker processes on this machine.

When a worker dies (out of memory, a crash in a library), only the partitions that were running are tried again.
"""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from pipeline.errors import WorkerDied
from pipeline.ingest.partitions import partition_path, process_partition
from pipeline.recipes.recipe import Recipe
from pipeline.sources.source import Entry, Source

Partitions = Mapping[int, Sequence[Entry]]
MAX_CONSECUTIVE_DEATHS = 8
"""Stop when this many partitions in a row kill their worker: the cause is then the machine, not the recordings."""
MAX_NAMED_RECORDINGS = 3
"""Maximum number of partitions, and of recordings of each, that the error lists."""


def process_partitions(
    folder: Path, pending: Partitions, open_data: Callable[[], Source], recipe: Recipe, workers: int
) -> Iterator[tuple[int, int]]:
    """Process partitions, here or in worker processes; yield the number and the quarantined clips of each.

    When a worker dies, each partition that was running is run again alone in a new process. This shows which one is the
    cause, and gives it all the memory. All other partitions continue.

    Args:
        folder: the folder of the finished partitions.
        pending: the partitions to process.
        open_data: opens the data source; called once in each process.
        recipe: the recipe.
        workers: the number of worker processes; with 0 or 1 this process does the work.

    Raises:
        WorkerDied: at the end, if a partition killed its worker twice; the message names its recordings. At once, if
            worker processes cannot be started.
        OutputFailed: the disk refuses.
    """
    if workers <= 1:
        data = open_data()
        for number, entries in pending.items():
            yield number, process_partition(partition_path(folder, number), entries, data, recipe)
        return
    queue, fatal, deaths_in_a_row = deque(pending), list[int](), 0
    while queue and deaths_in_a_row < MAX_CONSECUTIVE_DEATHS:
        lost: list[int] = []
        yield from _run_pool(folder, pending, queue, open_data, recipe, min(workers, len(queue)), lost)
        for number in lost:
            lost_again: list[int] = []
            yield from _run_pool(folder, pending, deque([number]), open_data, recipe, 1, lost_again)
            deaths_in_a_row = deaths_in_a_row + 1 if lost_again else 0
            fatal += lost_again
            if deaths_in_a_row == MAX_CONSECUTIVE_DEATHS:
                break
    if fatal:
        raise worker_died(folder.parent, {number: pending[number] for number in fatal}, "twice", "with fewer --workers")


def worker_died(work: Path, fatal: Partitions, times: str, advice: str) -> WorkerDied:
    """Return an error that names the recordings of the partitions whose workers died."""
    listed = "; ".join(
        f"partition {number}: {_list_recordings(entries)}"
        for number, entries in sorted(fatal.items())[:MAX_NAMED_RECORDINGS]
    )
    more = f"; and {len(fatal) - MAX_NAMED_RECORDINGS} more partitions" if len(fatal) > MAX_NAMED_RECORDINGS else ""
    return WorkerDied(
        f"{work}: the process that worked on {listed}{more} died {times} (out of memory?); finished partitions are "
        f"kept; run the same command again to resume, {advice} or without these recordings"
    )


def _list_recordings(entries: Sequence[Entry]) -> str:
    names = [entry.name for entry in entries]
    return (
        ", ".join(names) if len(names) <= MAX_NAMED_RECORDINGS else f"{len(names)} recordings {names[0]} to {names[-1]}"
    )


def _run_pool(
    folder: Path,
    pending: Partitions,
    queue: deque[int],
    open_data: Callable[[], Source],
    recipe: Recipe,
    workers: int,
    lost: list[int],
) -> Iterator[tuple[int, int]]:
    """Process the queue in a pool until it is empty or a worker dies; running partitions are then added to `lost`."""
    # Workers are forked from a server that has imported everything: starting one takes 10 ms instead of a second.
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload([__name__])
    running: dict[Future[int], int] = {}
    with ProcessPoolExecutor(workers, server, initializer=_init_worker, initargs=(open_data,)) as pool:
        try:
            while queue or running:
                while (
                    queue and len(running) <= workers and not lost
                ):  # one task more than workers, so that none is idle
                    number = queue.popleft()
                    try:
                        task = pool.submit(_run_in_worker, partition_path(folder, number), pending[number], recipe)
                    except BrokenProcessPool:
                        lost.append(number)
                    except (OSError, EOFError, RuntimeError) as error:
                        raise _cannot_start(folder.parent, error) from error
                    else:
                        running[task] = number
                if not running:
                    return
                for task in wait(running, return_when=FIRST_COMPLETED).done:
                    number = running.pop(task)
                    try:
                        yield number, task.result()
                    except BrokenProcessPool:
                        lost.append(number)
        finally:
            pool.shutdown(cancel_futures=True)


def _cannot_start(work: Path, error: Exception) -> WorkerDied:
    reason = (error.strerror if isinstance(error, OSError) else str(error)) or type(error).__name__
    return WorkerDied(
        f"{work}: worker processes cannot be started ({reason}): too little memory, or too many processes; finished "
        "partitions are kept; run the same command again to resume, with --workers 1"
    )


_open_data: Callable[[], Source]
_data: Source | None = None
"""The data source of this worker process: it keeps buffers and open archives between partitions."""


def _init_worker(open_data: Callable[[], Source]) -> None:
    """Leave Ctrl-C to the parent process, and exit with the parent, even if it is killed."""
    global _open_data
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    _open_data = open_data


def _exit_with_parent() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)


def _run_in_worker(path: Path, entries: Sequence[Entry], recipe: Recipe) -> int:
    global _data
    if _data is None:  # not when the process starts: an error there would count as a death
        _data = _open_data()
    return process_partition(path, entries, _data, recipe)
