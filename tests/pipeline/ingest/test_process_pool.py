"""Worker processes that die: the partition at fault is named, all others are finished and kept."""

import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import ConfigError, WorkerDied
from pipeline.ingest import partitions
from pipeline.ingest.ingest import ingest
from pipeline.ingest.partitions import read_partition, split_into_partitions
from pipeline.ingest.process_pool import process_partitions
from pipeline.ingest.request import IngestRequest
from pipeline.recipes.recipe import load_recipe
from pipeline.sources.registry import open_source
from pipeline.sources.source import Source
from pipeline.store.store import Store
from tests.pipeline.ingest.test_ingest import bytes_of

ROOT = Path(__file__).parents[3]
DEADLY = '''
"""Ingest RAW OUTPUT WORKERS; recordings in DEADLY (name=times) kill the process that reads them, that many times."""
import os, signal, sys
from pathlib import Path
from pipeline.errors import SkelepipeError
from pipeline.errors import ConfigError, WorkerDied
from pipeline.ingest import partitions
from pipeline.ingest.ingest import ingest
from pipeline.ingest.request import IngestRequest
from pipeline.recipes.recipe import load_recipe
from pipeline.sources.ntu.source import NtuSource

partitions.MAX_RECORDINGS = 6
deaths = dict(pair.split("=") for pair in os.environ["DEADLY"].split())
whole = NtuSource.read

def read(self, entry, frame_index):
    mark = Path(os.environ["MARKS"], entry.name)
    died = mark.stat().st_size if mark.exists() else 0
    if died < int(deaths.get(entry.name, 0)):
        with mark.open("a") as note:
            note.write("x")
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(self, entry, frame_index)

NtuSource.read = read

if __name__ == "__main__":
    request = IngestRequest(dataset="ntu60", roots=(Path(sys.argv[1]),), output=Path(sys.argv[2]),
                             recipe=load_recipe("clean"), workers=int(sys.argv[3]))
    try:
        ingest(request)
    except SkelepipeError as error:
        print(error)
        sys.exit(error.exit_code)
'''


def run(tmp_path: Path, raw: Path, deadly: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "deadly.py").write_text(DEADLY)
    (tmp_path / "marks").mkdir(exist_ok=True)
    environment = {"PYTHONPATH": str(ROOT), "DEADLY": deadly, "MARKS": str(tmp_path / "marks")}
    return subprocess.run(
        [sys.executable, tmp_path / "deadly.py", raw, tmp_path / "s.zarr", "2"],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_worker_that_dies_once_does_not_change_the_store(raw: Path, shared_store: Store, tmp_path: Path) -> None:
    done = run(tmp_path, raw, f"{shared_store.names[20]}=1")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert (tmp_path / "marks" / shared_store.names[20]).read_text() == "x"
    assert bytes_of(tmp_path / "s.zarr") == bytes_of(shared_store.path)


def test_a_recording_that_kills_twice_is_named_and_the_rest_is_finished(
    raw: Path, shared_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions, "MAX_RECORDINGS", 6)
    request = IngestRequest(
        dataset="ntu60", roots=(raw,), output=tmp_path / "s.zarr", recipe=load_recipe("clean"), workers=1
    )
    data = open_source("ntu60", (raw,))
    partitions_by_number = split_into_partitions(data.survey(keep_missing=False).entries)
    bad = partitions_by_number[3][2].name
    done = run(tmp_path, raw, f"{bad}=2")
    assert done.returncode == 1, done.stderr
    names = [entry.name for entry in partitions_by_number[3]]
    assert f"partition 3: 6 recordings {names[0]} to {names[-1]} died twice" in done.stdout
    assert "finished partitions are kept" in done.stdout
    assert not request.output.exists()
    finished = {path.name for path in (tmp_path / ".s.zarr.work").rglob("part-*.npz")}
    assert finished == {f"part-{number:05d}.npz" for number in partitions_by_number if number != 3}
    again = ingest(request)
    assert again.resumed_files == 75 - 6
    assert bytes_of(request.output) == bytes_of(shared_store.path)


def test_ingest_gives_up_soon_when_every_worker_dies(raw: Path, shared_store: Store, tmp_path: Path) -> None:
    done = run(tmp_path, raw, " ".join(f"{path.stem}=99" for path in raw.iterdir()))
    assert done.returncode == 1, done.stderr
    assert "and 5 more partitions died twice" in done.stdout  # 8 of 13, then ingest gives up


def test_worker_processes_that_cannot_be_started_stop_the_ingest(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(ProcessPoolExecutor, "submit", refuse)
    request = IngestRequest(
        dataset="ntu60", roots=(raw,), output=tmp_path / "s.zarr", recipe=load_recipe("clean"), workers=2
    )
    with pytest.raises(WorkerDied, match=r"cannot be started \(can't start new thread\).*with --workers 1"):
        ingest(request)
    assert not request.output.exists()


def test_an_error_of_the_data_set_in_a_worker_is_no_death_of_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"manifest\.csv is damaged"):
        list(process_partitions(tmp_path, {0: [], 1: []}, refuse_to_open, load_recipe("clean"), 2))


def refuse_to_open() -> Source:
    raise ConfigError("manifest.csv is damaged")


def test_a_partition_is_not_called_damaged_when_memory_is_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise MemoryError

    (tmp_path / "part.npz").write_bytes(b"PK")
    monkeypatch.setattr(np, "load", refuse)
    with pytest.raises(MemoryError):
        read_partition(tmp_path / "part.npz")
