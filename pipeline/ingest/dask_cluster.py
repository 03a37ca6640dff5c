"""Partitions on an existing Dask cluster whose workers share a file system with this machine.

The only file that imports distributed, and only when a cluster is asked for.
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

from pipeline.errors import ClusterError, OutputFailed, SkelepipeError
from pipeline.files import raw_files
from pipeline.ingest import process_pool
from pipeline.ingest.partitions import is_finished, partition_path, process_partition, read_partition
from pipeline.ingest.work_folder import PLAN, WorkFolder
from pipeline.recipes.recipe import Recipe
from pipeline.sources.registry import open_source
from pipeline.sources.source import Entry, Source

CONNECT_TIMEOUT_SECONDS = 10.0
"""A scheduler that is there answers within this time."""
LONELY_SECONDS = 60.0
"""So long without any worker, or without the scheduler, and the run ends; a nanny restarts a dead worker in seconds."""
LOOK_SECONDS = 2.0
"""How often it is looked whether scheduler and workers are still there."""
MEMORY = "with more memory for each worker"
RESUME_HINT = "what is finished is kept, the same command goes on there"


@contextmanager
def connect_cluster(address: str) -> Iterator["Cluster"]:
    """A connection to the scheduler at an address such as `tcp://host:8786`.

    Raises:
        ClusterError: distributed is not installed, the address is none, or nobody answers there.
    """
    if importlib.util.find_spec("distributed") is None:
        raise ClusterError("--dask needs the package distributed: pip install distributed")
    import distributed  # noqa: PLC0415 - only those who ask for a cluster pay for it

    log = logging.getLogger("distributed")
    level = log.level
    log.setLevel(logging.CRITICAL + 1)  # what it would say, an error says in one line
    # In two steps, so that one that fails half made is closed here. Else the garbage collector would close it, and if
    # it came by while the next client is being made, both would want the same lock in the same thread: for ever.
    client: Any = distributed.Client.__new__(distributed.Client)
    try:
        try:
            client.__init__(address, timeout=CONNECT_TIMEOUT_SECONDS, set_as_default=False)
        except OSError as error:
            raise ClusterError(
                f"--dask {address}: no Dask scheduler answers there within {CONNECT_TIMEOUT_SECONDS:.0f} s "
                f"({type(error).__name__}); start one with `dask scheduler`, or look at the address"
            ) from error
        except (ValueError, TypeError) as error:  # TypeError: TLS without certificates
            raise ClusterError(
                f"--dask {address}: nothing to connect to ({error}); expected an address like tcp://host:8786, "
                "and for tls:// a TLS section in Dask's own configuration"
            ) from error
        yield Cluster(client, address)
    finally:
        with suppress(TimeoutError):
            client.close(timeout=LOOK_SECONDS)
        log.setLevel(level)


@dataclass(frozen=True, slots=True)
class Cluster:
    """A scheduler that answers."""

    dask: Any
    """The distributed.Client."""
    address: str

    def workers(self) -> int:
        """How many workers the scheduler has now.

        Asked of the scheduler: the client's `scheduler_info` is refreshed in the background, without the workers, and
        has none when that comes between question and answer.
        """
        return len(self.dask.nthreads())

    def run_all(
        self,
        place: WorkFolder,
        waiting: Mapping[int, Sequence[Entry]],
        dataset: str,
        roots: Sequence[Path],
        chosen: Recipe,
    ) -> Iterator[tuple[int, int]]:
        """Run partitions on the workers; yields each one's number and how many clips it quarantined.

        When several have lost their workers too often, each is run again alone, as in pool.py.

        Args:
            place: the work folder.
            waiting: the partitions to run.
            dataset: the data set's name.
            roots: its folders, absolute.
            chosen: the recipe.

        Raises:
            ClusterError: a worker cannot do the work, or workers or scheduler have gone.
            WorkerDied: at the end, when some partition killed its workers; the text names its recordings.
            OutputFailed: the disk refuses.
        """
        if not waiting:
            return
        place = replace(place, folder=place.folder.absolute())  # workers have working folders of their own
        self._check_workers(place, [entry for members in waiting.values() for entry in members])
        run = partial(self._run, place, dataset, roots, chosen)
        deadly = list[int]()
        yield from run(waiting, deadly)
        if len(deadly) > 1:  # whatever shared a worker with the one to blame is lost with it; each alone, that is known
            lost, deadly = deadly, []
            for number in lost:
                yield from run({number: waiting[number]}, deadly)
        if deadly:
            raise process_pool.died(
                place.folder, {number: waiting[number] for number in deadly}, "several times", MEMORY
            )

    def _run(
        self,
        place: WorkFolder,
        dataset: str,
        roots: Sequence[Path],
        chosen: Recipe,
        waiting: Mapping[int, Sequence[Entry]],
        lost: list[int],
    ) -> Iterator[tuple[int, int]]:
        """Run partitions; those whose workers died more often than the scheduler allows go into `lost`."""
        import distributed  # noqa: PLC0415

        run = secrets.token_hex(8)
        ended: queue.SimpleQueue[Any] = queue.SimpleQueue()
        tasks = {}
        for number, members in waiting.items():
            task = self.dask.submit(
                _run_on_worker,
                *(
                    run,
                    importlib.metadata.version("skelepipe"),
                    partition_path(place.parts, number),
                    members,
                    dataset,
                    tuple(roots),
                    chosen,
                ),
                key=f"skelepipe-{run}-{number}",
                pure=False,
            )
            tasks[task.key] = (number, task)
            task.add_done_callback(ended.put)
        try:
            while tasks:
                task = self._next(ended, place)
                number, _ = tasks.pop(task.key)
                if task.status == "cancelled":
                    raise ClusterError(f"--dask {self.address}: the scheduler has gone; {RESUME_HINT} ({place.folder})")
                if task.status != "error":  # or it is done again, since what it returned went with its worker
                    yield number, self._quarantined(place, number, waiting[number])
                elif isinstance(error := task.exception(timeout=CONNECT_TIMEOUT_SECONDS), distributed.KilledWorker):
                    lost.append(number)
                elif isinstance(error, Trouble):
                    raise error.told(f"--dask {self.address}: partition {number}")
                else:  # what a worker could not even begin
                    raise ClusterError(f"--dask {self.address}: partition {number}: {type(error).__name__}: {error}")
        finally:
            if self.dask.status == "running":
                self.dask.cancel([task for _, task in tasks.values()], force=True)

    def _next(self, ended: "queue.SimpleQueue[Any]", place: WorkFolder) -> Any:
        """The next task that has ended, or the reason why none will."""
        lonely = time.monotonic()
        while True:
            try:
                return ended.get(timeout=LOOK_SECONDS)
            except queue.Empty:
                pass
            if self.dask.status == "running" and self.workers():
                lonely = time.monotonic()
            if self.dask.status == "closed":
                raise ClusterError(f"--dask {self.address}: the scheduler has gone; {RESUME_HINT} ({place.folder})")
            if time.monotonic() - lonely > LONELY_SECONDS:
                raise ClusterError(
                    f"--dask {self.address}: no worker for {LONELY_SECONDS:.0f} s; {RESUME_HINT} ({place.folder})"
                )

    def _quarantined(self, place: WorkFolder, number: int, members: Sequence[Entry]) -> int:
        """How many clips a partition has quarantined, once it is here and of the recordings that lie here.

        What a task returns stays on its worker, and is lost with it; the file is not. And workers may join at any time.

        Raises:
            ClusterError: it is not here, though a network file system had time to show it.
        """
        last = time.monotonic() + CONNECT_TIMEOUT_SECONDS
        part = partition_path(place.parts, number)
        while not is_finished(part, members):
            if time.monotonic() > last:
                raise ClusterError(
                    f"--dask {self.address}: a worker has done partition {number} (from {members[0].name}), and it is "
                    f"not in {place.folder}, or of recordings other than here; do all workers see both folders? {RESUME_HINT}"
                )
            time.sleep(LOOK_SECONDS / 10)
        return len(read_partition(part).quarantine)

    def _check_workers(self, place: WorkFolder, entries: Sequence[Entry]) -> None:
        """Make sure that every worker has this version and sees the same recordings and the same work folder.

        Raises:
            ClusterError: there is none, or one does not; the text names it.
        """
        if not self.workers():
            raise ClusterError(f"--dask {self.address}: the scheduler has no workers; start some with `dask worker`")
        files = [
            (str(file.path), raw_files.stamp(file)[1])
            for entry in entries[:: max(1, len(entries) - 1)]
            for file in entry.files
        ]
        version, plan = importlib.metadata.version("skelepipe"), str(place.folder / PLAN)
        seal = hashlib.sha256((place.folder / PLAN).read_bytes()).hexdigest()

        def problem() -> str:
            """Runs on each worker, which may know nothing of skelepipe: so it is sent as code, not by name."""
            import hashlib  # noqa: PLC0415
            import importlib.metadata  # noqa: PLC0415
            import os  # noqa: PLC0415
            import tempfile  # noqa: PLC0415

            try:
                import pipeline.ingest.dask_cluster  # noqa: PLC0415, F401

                here = importlib.metadata.version("skelepipe")
            except ImportError as error:
                return f"cannot import skelepipe ({error}); install version {version} there"
            if here != version:
                return f"has skelepipe {here}, here is {version}; install the same version there"
            for path, size in files:
                if (os.path.getsize(path) if os.path.exists(path) else None) != size:  # noqa: PTH110, PTH202
                    return f"does not see {path} as it is here; the recordings must lie on a shared file system"
            try:
                with open(plan, "rb") as handle:  # noqa: PTH123
                    if hashlib.sha256(handle.read()).hexdigest() != seal:
                        return f"sees another {plan}; the output must lie on a shared file system"
                with tempfile.NamedTemporaryFile(dir=os.path.dirname(plan), prefix=".", suffix=".partial"):  # noqa: PTH120
                    return ""
            except OSError as error:
                return f"cannot read and write beside {plan} ({error.strerror}); the output must lie where all see it"

        for worker, told in sorted(self.dask.run(problem, on_error="return").items()):
            if told:
                raise ClusterError(f"--dask {self.address}: worker {worker} {told}")


class Trouble(Exception):
    """What went wrong on a worker: text, exit code and trace. Not every exception survives the way back."""

    def told(self, where: str) -> SkelepipeError:
        """The error for the user; a disk that refuses is called so."""
        text, exit_code, trace = self.args
        if exit_code == OutputFailed.exit_code:
            return OutputFailed(text)
        found = ClusterError(f"{where}: {text}; {RESUME_HINT}")
        found.add_note(trace)
        return found


_of_thread = threading.local()
"""A worker's own source in each of its threads, with the buffers and open archives that it keeps between partitions."""


def _run_on_worker(
    run: str, version: str, part: Path, entries: Sequence[Entry], dataset: str, roots: Sequence[Path], chosen: Recipe
) -> None:
    """One partition on a worker; what an earlier run left in this thread is opened anew.

    Raises:
        Trouble: anything went wrong; it drags nothing of what it was along.
    """
    trouble = None
    try:
        here = importlib.metadata.version("skelepipe")
        if here != version:
            raise ClusterError(f"a worker with skelepipe {here} has come, here is {version}")  # noqa: TRY301
        if getattr(_of_thread, "run", None) != run:
            data: Source = open_source(dataset, roots)
            _of_thread.run, _of_thread.data = run, data
        process_partition(part, entries, _of_thread.data, chosen)
    except SkelepipeError as error:
        trouble = Trouble(str(error), error.exit_code, traceback.format_exc())
    except Exception as error:
        trouble = Trouble(f"{type(error).__name__}: {error}", ClusterError.exit_code, traceback.format_exc())
    if trouble:
        raise trouble
