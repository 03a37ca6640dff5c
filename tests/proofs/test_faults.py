"""The quick form of `make prove`, and tests that its tools detect faults."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.proofs import faults

pytestmark = pytest.mark.skipif(faults.compiler() is None, reason="needs Linux and a C compiler")
TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent
CHANGES = """
import os, shutil
from pathlib import Path
os.mkdir("a"); Path("a/b").write_bytes(b"12345678"); os.replace("a/b", "a/c")
handle = os.open("a", os.O_RDONLY); os.fsync(handle); os.close(handle)
with open("a/c", "ab", buffering=0) as stream:
    stream.write(b"9"); stream.truncate(3)
shutil.rmtree("a")
"""
"""Nine changes: mkdir, create, write, rename, sync, write, truncate, unlink, rmdir."""


def under(folder: Path, program: str, **settings: str) -> tuple[subprocess.CompletedProcess[str], list[int]]:
    """Run a program in a watched folder; return its result, the number of changes and of network calls."""
    state = folder.parent / "state"
    state.write_bytes(bytes(16))
    watch = {"LD_PRELOAD": str(faults.library()), "FAULTS_FOLDER": str(folder.resolve()), "FAULTS_STATE": str(state)}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env=os.environ | watch | settings,
        capture_output=True,
        text=True,
        start_new_session=True,
        check=False,
    )
    seen = state.read_bytes()
    return done, [int.from_bytes(seen[:8], "little"), int.from_bytes(seen[8:], "little")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "watched").mkdir()
    return tmp_path / "watched"


def test_every_change_is_recorded(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "log").touch()
    done, seen = under(folder, CHANGES, FAULTS_LOG=str(tmp_path / "log"))
    assert (done.returncode, seen) == (0, [9, 0]), done.stderr
    kinds = "MKDIR CREATE WRITE RENAME SYNC WRITE TRUNCATE UNLINK RMDIR"
    records = faults.records(tmp_path / "log")
    assert [record.what for record in records] == [getattr(faults, kind) for kind in kinds.split()]
    assert [(record.offset, record.data) for record in records if record.what == faults.WRITE] == [
        *((0, b"12345678"), (8, b"9"))
    ]
    assert (records[3].path, records[3].second) == (f"{folder}/a/b", f"{folder}/a/c")


@pytest.mark.parametrize(("do", "left"), [("kill", b""), ("torn", b"1234"), ("after", b"12345678")])
def test_a_process_is_killed_at_the_requested_call(folder: Path, do: str, left: bytes) -> None:
    done, _ = under(folder, CHANGES, FAULTS_AT="3", FAULTS_DO=do)
    assert done.returncode == -signal.SIGKILL
    assert (folder / "a" / "b").read_bytes() == left


def test_calls_fail_with_the_requested_error(folder: Path) -> None:
    done, seen = under(folder, CHANGES, FAULTS_AT="4", FAULTS_DO=f"{errno.EIO}")
    assert "OSError: [Errno 5] Input/output error: 'a/b' -> 'a/c'" in done.stderr
    assert (folder / "a" / "b").exists()
    again = "import os\nfor name in 'xyz':\n    try: os.mkdir(name)\n    except OSError as error: print(error.errno)"
    assert under(folder, again, FAULTS_AT="2", FAULTS_DO=f"{errno.ENOSPC}+")[0].stdout.split() == ["28", "28"]
    assert under(folder, "open('r', 'w')", FAULTS_AT="1", FAULTS_DO="30")[0].returncode == 1
    assert seen[0] == 4


def test_network_access_is_counted_and_refused(folder: Path) -> None:
    asks = "import socket\nsocket.socketpair()\nsocket.create_connection(('127.0.0.1', 9))"
    done, seen = under(folder, asks, FAULTS_NET="1")
    assert "socket.gaierror" in done.stderr
    assert seen[1] >= 1
    assert under(folder, "import socket; socket.socketpair()", FAULTS_NET="1")[1][1] == 0


def prover(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", f"tests.proofs.{name}", *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)


def numbers(line: str) -> list[int]:
    return [int(word.replace(",", "")) for word in line.split() if word.replace(",", "").isdecimal()]


@pytest.mark.slow
def test_outputs_stay_complete_after_kills_power_cuts_full_disks_and_concurrent_writers() -> None:
    done = prover("quick_faults")
    assert done.returncode == 0, done.stdout + done.stderr
    heads, *_, last = done.stdout.splitlines()
    found = dict(
        zip(
            heads.replace("exit 5", "exit-5").replace("one stopped", "one-stopped").split()[1:],
            numbers(last),
            strict=True,
        )
    )
    assert found["killed"] >= 10
    assert found["states"] >= 28
    assert found["failed"] == 30
    assert found["exit-5"] >= 22
    assert found["one-stopped"] >= 1  # the number of collisions depends on the load
    assert found["BAD"] == 0


@pytest.mark.thorough
def test_proofs_fail_when_a_safety_mechanism_is_disabled() -> None:
    done = prover("planted_faults")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(": noticed\n") == 6


@pytest.mark.slow
def test_bit_flips_and_damaged_files_are_reported_or_harmless() -> None:
    done = prover("bit_flips", "--flips", "160")
    assert done.returncode == 0, done.stdout + done.stderr
    damaged, verified, refused, intact, bad = numbers(done.stdout.splitlines()[-1])
    assert damaged == verified == refused + intact
    assert damaged > 400
    assert bad == 0
