"""Partitions in worker processes of this machine.

A worker that dies (out of memory, a fault in a library) costs what was running a second try, and the rest nothing.
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

Members = Mapping[int, Sequence[Entry]]
MAX_CONSECUTIVE_DEATHS = 8
"""So many partitions in a row that kill their worker: it is not their recordings, but the machine."""
MAX_NAMED_RECORDINGS = 3
"""Recordings named of each partition that killed its workers."""


def process_partitions(
    parts: Path, waiting: Members, open_data: Callable[[], Source], chosen: Recipe, workers: int
) -> Iterator[tuple[int, int]]:
    """Run partitions, here or in worker processes; yields each one's number and how many clips it quarantined.

    When a worker dies, what was running is run again, each alone in a new process, so that the partition to blame is
    known and has the memory for itself; all others go on.

    Args:
        parts: the folder of the finished partitions.
        waiting: the partitions to run.
        open_data: makes the source that reads them, once in each process.
        chosen: the recipe.
        workers: processes; 0 or 1 is this one.

    Raises:
        WorkerDied: at the end, when some partition killed its worker twice; the text names its recordings.
        OutputFailed: the disk refuses.
    """
    if workers <= 1:
        data = open_data()
        for number, members in waiting.items():
            yield number, process_partition(partition_path(parts, number), members, data, chosen)
        return
    queue, deadly, in_a_row = deque(waiting), list[int](), 0
    while queue and in_a_row < MAX_CONSECUTIVE_DEATHS:
        lost: list[int] = []
        yield from _run(parts, waiting, queue, open_data, chosen, min(workers, len(queue)), lost)
        for number in lost:
            again: list[int] = []
            yield from _run(parts, waiting, deque([number]), open_data, chosen, 1, again)
            in_a_row = in_a_row + 1 if again else 0
            deadly += again
            if in_a_row == MAX_CONSECUTIVE_DEATHS:
                break
    if deadly:
        raise died(parts.parent, {number: waiting[number] for number in deadly}, "twice", "with fewer --workers")


def died(work: Path, deadly: Members, often: str, advice: str) -> WorkerDied:
    """The error that names the recordings of partitions whose workers died."""
    told = "; ".join(
        f"partition {number}: {_named(members)}" for number, members in sorted(deadly.items())[:MAX_NAMED_RECORDINGS]
    )
    more = f"; and {len(deadly) - MAX_NAMED_RECORDINGS} partitions more" if len(deadly) > MAX_NAMED_RECORDINGS else ""
    return WorkerDied(
        f"{work}: the process that worked on {told}{more} died {often} (out of memory?); what is finished is kept, "
        f"run the same command again to go on, {advice} or without these recordings"
    )


def _named(members: Sequence[Entry]) -> str:
    names = [entry.name for entry in members]
    return (
        ", ".join(names) if len(names) <= MAX_NAMED_RECORDINGS else f"{len(names)} recordings {names[0]} to {names[-1]}"
    )


def _run(
    parts: Path,
    waiting: Members,
    queue: deque[int],
    open_data: Callable[[], Source],
    chosen: Recipe,
    workers: int,
    lost: list[int],
) -> Iterator[tuple[int, int]]:
    """Run partitions of the queue in a pool until it is empty or a worker dies; what was running goes into `lost`."""
    # Workers are forked off a server that has imported everything once: another one costs 10 ms in place of a second.
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload([__name__])
    running: dict[Future[int], int] = {}
    with ProcessPoolExecutor(workers, server, initializer=_enter_worker, initargs=(open_data,)) as pool:
        try:
            while queue or running:
                while queue and len(running) <= workers and not lost:  # one more than workers, so that none waits
                    number = queue.popleft()
                    try:
                        task = pool.submit(_run_in_worker, partition_path(parts, number), waiting[number], chosen)
                    except BrokenProcessPool:
                        lost.append(number)
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


_data: Source
"""A worker process's own source, with the buffers and open archives that it keeps between partitions."""


def _enter_worker(open_data: Callable[[], Source]) -> None:
    """Leave Ctrl-C to the parent and end when it does: a pool's workers outlive a parent that was killed."""
    global _data
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _data = open_data()


def _end_with_parent() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)


def _run_in_worker(part: Path, entries: Sequence[Entry], chosen: Recipe) -> int:
    return process_partition(part, entries, _data, chosen)
