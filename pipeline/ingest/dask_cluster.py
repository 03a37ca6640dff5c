"""Process partitions on an existing Dask cluster whose workers share a file system with this machine.

This is the only file that imports distributed, and only if the user gives a cluster.
"""

import hashlib
import importlib.metadata
import importlib.util
import logging
import queue
import secrets
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.errors import ClusterError, InputFailed, OutputFailed, SkelepipeError
from pipeline.files import raw_files
from pipeline.files.regular_files import read_bytes
from pipeline.ingest import process_pool
from pipeline.ingest.partitions import is_finished, partition_path, process_partition, read_partition
from pipeline.ingest.work_folder import PLAN, WorkFolder
from pipeline.recipes.recipe import Recipe
from pipeline.sources.registry import open_source
from pipeline.sources.source import Entry, Source

CONNECT_TIMEOUT_SECONDS = 10.0
"""A running scheduler answers within this time."""
NO_WORKER_SECONDS = 60.0
"""Give up after this time without any worker or without the scheduler; Dask restarts a dead worker within seconds."""
POLL_SECONDS = 2.0
"""Interval of the checks whether the scheduler and workers still exist."""
MEMORY_HINT = "with more memory for each worker"
RESUME_HINT = "finished partitions are kept; run the same command again to resume"


@contextmanager
def connect_cluster(address: str) -> Iterator["Cluster"]:
    """Connect to the scheduler at an address such as `tcp://host:8786`; close the connection at the end.

    Raises:
        ClusterError: distributed is not installed, the address is invalid, or no scheduler answers.
    """
    if importlib.util.find_spec("distributed") is None:
        raise ClusterError("--dask needs the package distributed: pip install distributed")
    import distributed  # noqa: PLC0415 - slow to import, and optional

    log = logging.getLogger("distributed")
    level = log.level
    log.setLevel(logging.CRITICAL + 1)  # its messages are replaced by one-line errors
    # Created in two steps, so that a client whose __init__ fails is closed here. Otherwise the garbage collector closes
    # it. If that happens while the next client is being created, both need the same lock in one thread: a deadlock.
    client: Any = distributed.Client.__new__(distributed.Client)
    try:
        try:
            client.__init__(address, timeout=CONNECT_TIMEOUT_SECONDS, set_as_default=False)
        except OSError as error:
            raise ClusterError(
                f"--dask {address}: no Dask scheduler answers within {CONNECT_TIMEOUT_SECONDS:.0f} s "
                f"({type(error).__name__}); start one with `dask scheduler`, or check the address"
            ) from error
        except (ValueError, TypeError) as error:  # TypeError: TLS without certificates
            raise ClusterError(
                f"--dask {address}: is not a usable address ({error}); expected one like tcp://host:8786; "
                "tls:// also needs a TLS section in the configuration of Dask"
            ) from error
        yield Cluster(client, address)
    finally:
        with suppress(TimeoutError):
            client.close(timeout=POLL_SECONDS)
        log.setLevel(level)


@dataclass(frozen=True, slots=True)
class Cluster:
    """A connection to a Dask scheduler."""

    dask: Any
    """The distributed.Client."""
    address: str

    def workers(self) -> int:
        """Ask the scheduler for its current number of workers.

        The client's `scheduler_info` would be wrong: a background refresh replaces it with one without workers for a
        moment.
        """
        return len(self.dask.nthreads())

    def run_all(
        self,
        work: WorkFolder,
        pending: Mapping[int, Sequence[Entry]],
        dataset: str,
        roots: Sequence[Path],
        recipe: Recipe,
    ) -> Iterator[tuple[int, int]]:
        """Process partitions on the workers; yield the number and the quarantined clips of each.

        If several partitions lost their workers too often, each of them is run again alone, as in process_pool.py.

        Args:
            work: the work folder.
            pending: the partitions to process.
            dataset: the name of the data set.
            roots: its folders, as absolute paths.
            recipe: the recipe.

        Raises:
            ClusterError: a worker cannot do the work, or all workers or the scheduler have disappeared.
            WorkerDied: at the end, if a partition killed its workers; the message names its recordings.
            OutputFailed: the disk refuses.
        """
        if not pending:
            return
        work = replace(work, folder=work.folder.absolute())  # workers have their own working directories
        self._check_workers(work, [entry for entries in pending.values() for entry in entries])
        run = partial(self._run, work, dataset, roots, recipe)
        fatal = list[int]()
        yield from run(pending, fatal)
        if len(fatal) > 1:  # partitions that shared a worker with the cause died too; alone, only the cause dies
            lost, fatal = fatal, []
            for number in lost:
                yield from run({number: pending[number]}, fatal)
        if fatal:
            raise process_pool.worker_died(
                work.folder, {number: pending[number] for number in fatal}, "several times", MEMORY_HINT
            )

    def _run(
        self,
        work: WorkFolder,
        dataset: str,
        roots: Sequence[Path],
        recipe: Recipe,
        pending: Mapping[int, Sequence[Entry]],
        lost: list[int],
    ) -> Iterator[tuple[int, int]]:
        """Process partitions; add those whose workers died more often than the scheduler allows to `lost`."""
        import distributed  # noqa: PLC0415

        session = secrets.token_hex(8)
        ended: queue.SimpleQueue[Any] = queue.SimpleQueue()
        tasks = {}
        for number, entries in pending.items():
            task = self.dask.submit(
                _run_on_worker,
                *(
                    session,
                    importlib.metadata.version("skelepipe"),
                    partition_path(work.partitions, number),
                    entries,
                    dataset,
                    tuple(roots),
                    recipe,
                ),
                key=f"skelepipe-{session}-{number}",
                pure=False,
            )
            tasks[task.key] = (number, task)
            task.add_done_callback(ended.put)
        try:
            while tasks:
                task = self._next_ended(ended, work)
                number, _ = tasks.pop(task.key)
                if task.status == "cancelled":
                    raise ClusterError(
                        f"--dask {self.address}: the scheduler has disappeared; {RESUME_HINT} ({work.folder})"
                    )
                if task.status != "error":  # includes a task that is lost and repeated because its worker died after it
                    yield number, self._count_quarantined(work, number, pending[number])
                elif isinstance(error := task.exception(timeout=CONNECT_TIMEOUT_SECONDS), distributed.KilledWorker):
                    lost.append(number)
                elif isinstance(error, WorkerError):
                    raise error.to_skelepipe_error(f"--dask {self.address}: partition {number}")
                else:  # the worker could not even start the task
                    raise ClusterError(f"--dask {self.address}: partition {number}: {type(error).__name__}: {error}")
        finally:
            if self.dask.status == "running":
                self.dask.cancel([task for _, task in tasks.values()], force=True)

    def _next_ended(self, ended: "queue.SimpleQueue[Any]", work: WorkFolder) -> Any:
        """Wait for the next task that ends, or raise the reason why no task can end."""
        last_worker = time.monotonic()
        while True:
            try:
                return ended.get(timeout=POLL_SECONDS)
            except queue.Empty:
                pass
            if self.dask.status == "running" and self.workers():
                last_worker = time.monotonic()
            if self.dask.status == "closed":
                raise ClusterError(
                    f"--dask {self.address}: the scheduler has disappeared; {RESUME_HINT} ({work.folder})"
                )
            if time.monotonic() - last_worker > NO_WORKER_SECONDS:
                raise ClusterError(
                    f"--dask {self.address}: no worker for {NO_WORKER_SECONDS:.0f} s; {RESUME_HINT} ({work.folder})"
                )

    def _count_quarantined(self, work: WorkFolder, number: int, entries: Sequence[Entry]) -> int:
        """Return the number of quarantined clips, once the partition's file is visible and matches the recordings here.

        The count is read from the file, because a task's return value stays on its worker and is lost with it. The file
        is checked, because a worker that joined later may see other folders.

        Raises:
            ClusterError: the file does not appear within the time that a network file system needs.
        """
        deadline = time.monotonic() + CONNECT_TIMEOUT_SECONDS
        path = partition_path(work.partitions, number)
        while not is_finished(path, entries):
            if time.monotonic() > deadline:
                raise ClusterError(
                    f"--dask {self.address}: a worker has finished partition {number} (from {entries[0].name}), but it "
                    f"is not in {work.folder}, or its recordings differ from those here; do all workers see both "
                    f"folders? {RESUME_HINT}"
                )
            time.sleep(POLL_SECONDS / 10)
        return len(read_partition(path).quarantine)

    def _check_workers(self, work: WorkFolder, entries: Sequence[Entry]) -> None:
        """Check that every worker has the same version and sees the same recordings and work folder.

        Raises:
            ClusterError: there is no worker, or one differs; the message names it.
        """
        if not self.workers():
            raise ClusterError(f"--dask {self.address}: the scheduler has no workers; start some with `dask worker`")
        files = [
            (str(file.path), raw_files.fingerprint(file)[1])
            for entry in entries[:: max(1, len(entries) - 1)]
            for file in entry.files
        ]
        version, plan = importlib.metadata.version("skelepipe"), str(work.folder / PLAN)
        checksum = hashlib.sha256(read_bytes(work.folder / PLAN)).hexdigest()

        def find_problem() -> str:
            """Runs on each worker; sent as code and not by name, because the worker may lack skelepipe."""
            import hashlib  # noqa: PLC0415
            import importlib.metadata  # noqa: PLC0415
            import os  # noqa: PLC0415
            import tempfile  # noqa: PLC0415

            try:
                import pipeline.ingest.dask_cluster  # noqa: PLC0415, F401

                here = importlib.metadata.version("skelepipe")
            except ImportError as error:
                return f"cannot import skelepipe ({error}); install version {version}"
            if here != version:
                return f"has skelepipe {here}, this machine {version}; install the same version"
            for path, size in files:
                if (os.path.getsize(path) if os.path.exists(path) else None) != size:  # noqa: PTH110, PTH202
                    return f"does not see {path} as this machine does; the recordings must be on a shared file system"
            try:
                with open(plan, "rb") as handle:  # noqa: PTH123
                    if hashlib.sha256(handle.read()).hexdigest() != checksum:
                        return f"sees another {plan}; the output must be on a shared file system"
                with tempfile.NamedTemporaryFile(dir=os.path.dirname(plan), prefix=".", suffix=".partial"):  # noqa: PTH120
                    return ""
            except OSError as error:
                reason = f"cannot read and write next to {plan} ({error.strerror})"
                return f"{reason}; the output must be on a shared file system"

        for worker, problem in sorted(self.dask.run(find_problem, on_error="return").items()):
            if problem:
                raise ClusterError(f"--dask {self.address}: worker {worker} {problem}")


class WorkerError(Exception):
    """An error on a worker as text, name of its class and traceback, because not every exception can be pickled."""

    def to_skelepipe_error(self, prefix: str) -> SkelepipeError:
        """Return the error to raise here: OutputFailed or InputFailed if a disk failed, otherwise ClusterError."""
        text, kind, trace = self.args
        if kind == OutputFailed.__name__:
            return OutputFailed(text)
        if kind == InputFailed.__name__:
            return InputFailed(f"{prefix}: {text}; do all workers see the same recordings?")
        error = ClusterError(f"{prefix}: {text}; {RESUME_HINT}")
        error.add_note(trace)
        return error


_thread_state = threading.local()
"""The data source of each worker thread: it keeps buffers and open archives between partitions."""


def _run_on_worker(
    session: str,
    version: str,
    path: Path,
    entries: Sequence[Entry],
    dataset: str,
    roots: Sequence[Path],
    recipe: Recipe,
) -> None:
    """Process one partition on a worker; open the data source if this thread has none of the same session.

    Raises:
        WorkerError: anything failed; raised without the original exception as context.
    """
    worker_error = None
    try:
        here = importlib.metadata.version("skelepipe")
        if here != version:
            raise ClusterError(f"a worker with skelepipe {here} has joined, this machine has {version}")  # noqa: TRY301
        if getattr(_thread_state, "session", None) != session:
            data: Source = open_source(dataset, roots)
            _thread_state.session, _thread_state.data = session, data
        process_partition(path, entries, _thread_state.data, recipe)
    except SkelepipeError as error:
        worker_error = WorkerError(str(error), type(error).__name__, traceback.format_exc())
    except Exception as error:
        worker_error = WorkerError(f"{type(error).__name__}: {error}", "", traceback.format_exc())
    if worker_error:
        raise worker_error
