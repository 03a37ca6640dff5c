"""`--dask` on a real scheduler with worker processes on loopback."""

import gc
import importlib.metadata
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import dask
import distributed
import pytest

from pipeline.errors import ClusterError, InputFailed, OutputFailed, SkelepipeError, WorkerDied
from pipeline.ingest import dask_cluster, partitions
from pipeline.ingest.ingest import ingest
from pipeline.ingest.partitions import split_into_partitions
from pipeline.ingest.request import IngestProgress, IngestRequest
from pipeline.recipes.recipe import load_recipe
from pipeline.sources.registry import open_source
from pipeline.store.store import Store
from tests.pipeline.ingest.test_ingest import bytes_of

ROOT = Path(__file__).parents[3]
PATIENCE = 300.0
"""Seconds to wait on a busy machine."""


class Farm:
    """A scheduler and workers, each in a separate process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        file = folder / "scheduler.json"
        self.start("scheduler", *self.at_port(0), "--scheduler-file", str(file))
        deadline = time.monotonic() + PATIENCE
        while not (file.exists() and file.read_text().strip()):
            assert time.monotonic() < deadline, (folder / "scheduler.log").read_text()
            time.sleep(0.05)
        self.address = json.loads(file.read_text())["address"]
        self.scheduler_arguments = self.at_port(int(self.address.rpartition(":")[2]))

    @staticmethod
    def at_port(port: int) -> tuple[str, ...]:
        """Arguments of a scheduler; with port 0 it takes a free one."""
        return ("--host", "127.0.0.1", "--port", str(port), "--no-dashboard")

    def start(self, name: str, *arguments: str, cwd: Path | None = None, **environment: str) -> None:
        kind = "scheduler" if name == "scheduler" else "worker"
        more = [] if kind == "scheduler" else [
            *(self.address, "--name", name, "--nthreads", "1", "--no-nanny", "--no-dashboard"),
            *("--death-timeout", "300", "--local-directory", str(self.folder / name)),
        ]  # fmt: skip
        quick = {"DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "5s", "OMP_NUM_THREADS": "1"}
        with (self.folder / f"{name}.log").open("wb") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", "dask", kind, *more, *arguments],
                cwd=cwd or self.folder,
                env=os.environ | quick | {"PYTHONPATH": str(ROOT)} | environment,
                stdout=log,
                stderr=log,
            )

    def wait_for(self, workers: int) -> None:
        deadline = time.monotonic() + PATIENCE
        with dask_cluster.connect_cluster(self.address) as connection:
            while connection.workers() != workers:
                assert time.monotonic() < deadline
                time.sleep(0.05)

    def kill(self, name: str) -> None:
        self.processes[name].kill()
        self.processes.pop(name).wait()


@pytest.fixture
def farm(tmp_path: Path) -> Iterator[Farm]:
    (tmp_path / "farm").mkdir()
    farm = Farm(tmp_path / "farm")
    try:
        yield farm
    finally:
        for process in farm.processes.values():
            process.kill()
        for process in farm.processes.values():
            process.wait()


@pytest.fixture
def request_to(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., IngestRequest]:
    """A request with small partitions, and with roots and output relative to the working directory."""
    monkeypatch.setattr(partitions, "MAX_RECORDINGS", 3)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "raw").symlink_to(raw)

    def make(farm: Farm | None = None) -> IngestRequest:
        where = farm.address if farm else None
        roots = (Path("raw"),)
        return IngestRequest(
            dataset="ntu60", roots=roots, output=Path("s.zarr"), recipe=load_recipe("clean"), dask=where
        )

    return make


def test_losing_a_worker_during_the_ingest_gives_the_same_bytes(
    farm: Farm, request_to: Callable[..., IngestRequest], shared_store: Store
) -> None:
    for name in ("one", "two"):
        farm.start(name)
    farm.wait_for(2)

    def lose_one(tick: IngestProgress) -> None:
        if tick.files >= 9 and "one" in farm.processes:
            farm.kill("one")

    before = threading.active_count()
    report = ingest(request_to(farm), lose_one)
    assert (report.outcome, report.clips, len(report.quarantined)) == ("ingested", 72, 3)
    assert "one" not in farm.processes
    assert bytes_of(Path("s.zarr")) == bytes_of(shared_store.path)
    assert not list(Path().glob(".s.zarr.work"))
    assert threading.active_count() <= before + 2


DEADLY = """
import os, signal
from pathlib import Path
from pipeline.sources.ntu.source import NtuSource

def deadly(self, entry, frame_index, whole=NtuSource.read):
    if entry.name == os.environ["DEADLY"]:
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(self, entry, frame_index)

if NtuSource.read.__name__ != "deadly":  # a preloaded file is executed twice
    NtuSource.read = deadly
"""


def test_a_recording_that_kills_workers_is_named_and_the_rest_is_finished(
    farm: Farm, request_to: Callable[..., IngestRequest], shared_store: Store
) -> None:
    farm.kill("scheduler")
    farm.start("scheduler", *farm.scheduler_arguments, DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES="0")
    (farm.folder / "deadly.py").write_text(DEADLY)
    bad = shared_store.recordings[30]
    for name in ("one", "two", "three"):  # with several threads: other partitions die with it
        farm.start(name, "--nthreads", "4", "--preload", str(farm.folder / "deadly.py"), DEADLY=bad)
    farm.wait_for(3)
    request = request_to(farm)
    with pytest.raises(WorkerDied, match=r"the process that worked on partition .* died several times") as caught:
        ingest(request)
    assert caught.value.exit_code == 1
    data = open_source("ntu60", request.roots)
    members = split_into_partitions(data.survey(keep_missing=False).entries)
    (number,) = (number for number, entries in members.items() if bad in {entry.name for entry in entries})
    assert f"partition {number}: {', '.join(entry.name for entry in members[number])} died" in str(caught.value)
    finished = {path.name for path in Path(".s.zarr.work").rglob("part-*.npz")}
    assert finished == {f"part-{other:05d}.npz" for other in members if other != number}
    assert ingest(replace(request, dask=None)).resumed_files == 72
    assert bytes_of(Path("s.zarr")) == bytes_of(shared_store.path)


@pytest.mark.parametrize("gone", ["scheduler", "one"])
def test_a_cluster_that_disappears_gives_a_one_line_error_and_the_ingest_resumes_without_it(
    farm: Farm,
    request_to: Callable[..., IngestRequest],
    shared_store: Store,
    monkeypatch: pytest.MonkeyPatch,
    gone: str,
) -> None:
    monkeypatch.setattr(dask_cluster, "NO_WORKER_SECONDS", 1.0)
    monkeypatch.setattr(dask_cluster, "POLL_SECONDS", 0.2)
    farm.start("one")
    farm.wait_for(1)
    monkeypatch.setattr(dask_cluster, "CONNECT_TIMEOUT_SECONDS", 2.0)

    def lose(tick: IngestProgress) -> None:
        if gone in farm.processes:
            farm.kill(gone)

    reason = "the scheduler has disappeared" if gone == "scheduler" else "no worker for 1 s"
    with pytest.raises(ClusterError, match=rf"{reason}; finished partitions are kept.*\.s\.zarr\.work"):
        ingest(request_to(farm), lose)
    assert 3 <= ingest(replace(request_to(farm), dask=None)).resumed_files < 75
    assert bytes_of(Path("s.zarr")) == bytes_of(shared_store.path)


def test_no_scheduler_is_a_one_line_error(
    request_to: Callable[..., IngestRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask_cluster, "CONNECT_TIMEOUT_SECONDS", 1.0)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        for address in (f"tcp://127.0.0.1:{taken.getsockname()[1]}", "no.such.host:8786"):
            with pytest.raises(ClusterError, match=f"--dask {address}: no Dask scheduler answers within 1 s"):
                ingest(replace(request_to(), dask=address))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ClusterError, match="--dask needs the package distributed: pip install distributed"):
        ingest(replace(request_to(), dask="tcp://127.0.0.1:1"))
    assert not list(Path().glob(".s.zarr*"))


def test_the_number_of_workers_is_always_current(farm: Farm) -> None:
    farm.start("one")
    farm.wait_for(1)
    refreshed_all_the_time = dask.config.set({"distributed.client.scheduler-info-interval": "1ms"})
    with refreshed_all_the_time, dask_cluster.connect_cluster(farm.address) as connection:
        assert {connection.workers() for _ in range(300)} == {1}


def test_an_invalid_address_is_a_one_line_error_and_leaves_no_open_client() -> None:
    open_before = {id(client) for client in open_clients()}
    gc.disable()
    try:
        for address, why in (("nonsense://x", "scheme"), ("tcp://host", "missing port"), ("tls://x:1", "TLS")):
            message = f"--dask {address}: is not a usable address \\(.*{why}.*\\); expected one like tcp://host:8786"
            with pytest.raises(ClusterError, match=message), dask_cluster.connect_cluster(address):
                pass
        assert {id(client) for client in open_clients()} <= open_before
    finally:
        gc.enable()


def open_clients() -> list[distributed.Client]:
    return [found for found in gc.get_objects() if type(found) is distributed.Client and found.status != "closed"]


def test_unusable_workers_are_named(farm: Farm, request_to: Callable[..., IngestRequest], tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="the scheduler has no workers; start some with `dask worker`"):
        ingest(request_to(farm))
    farm.start("one")
    farm.wait_for(1)
    mine = Path("/proc/self/cwd")  # a different folder in each process
    with pytest.raises(ClusterError, match=r"worker tcp://\S+ does not see /proc/self/cwd/raw/S\S+ as this machine"):
        ingest(replace(request_to(farm), roots=(mine / "raw",), output=Path("t.zarr")))
    with pytest.raises(ClusterError, match=r"worker tcp://\S+ cannot read and write next to /proc/self/cwd/\.s\.zarr"):
        ingest(replace(request_to(farm), output=mine / "s.zarr"))
    (farm.folder / ".s.zarr.work").mkdir()
    (farm.folder / ".s.zarr.work" / "plan.json").write_text("{}")
    with pytest.raises(ClusterError, match=r"worker tcp://\S+ sees another /proc/self/cwd/\.s\.zarr\.work/plan\.json"):
        ingest(replace(request_to(farm), output=mine / "s.zarr"))
    other = tmp_path / "other" / "skelepipe-9.9.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: skelepipe\nVersion: 9.9\n")
    farm.start("two", PYTHONPATH=f"{other.parent}:{ROOT}")
    farm.wait_for(2)
    with pytest.raises(ClusterError, match=r"worker tcp://\S+ has skelepipe 9\.9, this machine 0"):
        ingest(request_to(farm))
    farm.kill("two")
    broken = tmp_path / "broken" / "pipeline"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ImportError('half copied')")
    farm.start("three", PYTHONPATH=str(broken.parent))
    farm.wait_for(2)
    with pytest.raises(ClusterError, match=r"worker tcp://\S+ cannot import skelepipe \(half copied\)"):
        ingest(request_to(farm))


def test_partitions_of_a_later_worker_with_other_folders_are_refused(
    farm: Farm,
    request_to: Callable[..., IngestRequest],
    shared_store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    farm.start("one", cwd=tmp_path)
    farm.wait_for(1)
    request = replace(request_to(farm), roots=(Path("/proc/self/cwd/raw"),))

    def change(tick: IngestProgress) -> None:
        if "one" in farm.processes:
            farm.processes["one"].send_signal(signal.SIGSTOP)
            farm.start("two")  # sees another folder, and no recording in it
            farm.wait_for(2)
            farm.kill("one")
            monkeypatch.setattr(dask_cluster, "CONNECT_TIMEOUT_SECONDS", 1.0)

    with pytest.raises(InputFailed, match=r"has disappeared.*; do all workers see the same recordings\?"):
        ingest(request, change)
    assert ingest(replace(request, dask=None, workers=1)).clips == 72
    assert bytes_of(Path("s.zarr")) == bytes_of(shared_store.path)


def test_an_error_on_a_worker_is_returned_as_text(raw: Path, tmp_path: Path) -> None:
    def on_worker(version: str, part: Path) -> SkelepipeError:
        entries = open_source("ntu60", (raw,)).survey(keep_missing=False).entries[:1]
        with pytest.raises(dask_cluster.WorkerError) as caught:
            dask_cluster._run_on_worker("run", version, part, entries, "ntu60", (raw,), load_recipe("none"))
        assert (caught.value.__cause__, caught.value.__context__) == (None, None)
        return caught.value.to_skelepipe_error("here")

    version = importlib.metadata.version("skelepipe")
    assert f"a worker with skelepipe {version} has joined, this machine has 9.9" in str(
        on_worker("9.9", tmp_path / "part.npz")
    )
    gone = on_worker(version, tmp_path / "gone" / "part.npz")
    assert isinstance(gone, ClusterError)
    assert str(gone).startswith("here: FileNotFoundError: ")
    assert "Traceback" in gone.__notes__[0]
    (tmp_path / "part.npz").mkdir()
    full = on_worker(version, tmp_path / "part.npz")
    assert isinstance(full, OutputFailed)
    assert "cannot be written: Is a directory" in str(full)
