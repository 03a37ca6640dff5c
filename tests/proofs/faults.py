"""Run commands under a fault injector: count, fail, record or interrupt each call that changes the file system.

`faults.c` intercepts the C library's calls through LD_PRELOAD. A run is a forked process in its own process group, so
that nothing is imported twice; `start` loads the library by starting the program again. Needs Linux and a C compiler.
"""

import contextlib
import ctypes
import hashlib
import io
import json
import multiprocessing
import os
import select
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli import QUARANTINED, main

ROOT = Path(__file__).parents[2]
SOURCE = Path(__file__).with_name("faults.c")
SUBREAPER = 36
"""prctl: orphans become children of this process, so that it can wait for all of a group."""
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""Where folders to try things in are made: thousands of syncs take half the time where no disk is waited for."""
LIMIT = 120.0
"""Seconds after which a run counts as hanging."""
FAILED, CREATE, WRITE, TRUNCATE, SYNC, RENAME, MKDIR, UNLINK, RMDIR, OTHER = range(10)
"""What a record is of, as in faults.c."""


def compiler() -> str | None:
    """The C compiler, if this machine has one that makes libraries to preload."""
    return shutil.which("cc") if sys.platform == "linux" else None


def library() -> Path:
    """faults.c compiled, once for each version of it."""
    made = Path(tempfile.gettempdir(), f"skelepipe-faults-{hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]}.so")
    if not made.exists():
        own = made.with_suffix(f".{os.getpid()}")
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", own, SOURCE, "-ldl"], check=True)
        own.replace(made)
    return made


def start() -> None:
    """Be a process with faults.c beneath it: start this program again if it is none."""
    if os.environ.get("LD_PRELOAD") != str(library()):
        whole = {"LD_PRELOAD": str(library()), "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
        whole["PYTHONPATH"] = str(ROOT)
        whole["NUMBA_THREADING_LAYER"] = "workqueue"  # GNU OpenMP ends what has been forked
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | whole)
    ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
    whole_context = multiprocessing.get_context  # workers are forked, for speed
    multiprocessing.get_context = lambda method=None: whole_context("fork")  # type: ignore[assignment,misc]


@dataclass(frozen=True)
class Record:
    """One change of the file system."""

    what: int
    path: str
    second: str
    offset: int
    data: bytes


def records(log: Path) -> list[Record]:
    """What a run was seen to do."""
    content, found, at = log.read_bytes(), [], 0
    while at < len(content):
        what, _, offset, size, path, second, _ = struct.unpack_from("7q", content, at)
        names, data = at + 56 + path, at + 56 + path + second
        found.append(
            Record(
                what,
                content[at + 56 : names].decode(),
                content[names:data].decode(),
                offset,
                content[data : data + size],
            )
        )
        at = data + size
    return found


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    code: int
    """Exit code, or minus the signal."""
    said: str
    """Its stderr."""
    steps: int
    """Changes of the file system that it made, or tried."""
    network: int
    """Times that it asked for the network."""


def run(
    commands: Sequence[str],
    folder: Path,
    *,
    at: int = 0,
    do: str = "",
    log: Path | None = None,
    no_network: bool = False,
    before: Callable[[], Any] = lambda: None,
) -> Outcome:
    """Run commands of skelepipe one after the other in a folder, to the first that fails.

    Args:
        commands: without the program's name.
        folder: where, and what is watched.
        at: the number of the step at which something happens; 0: nothing does.
        do: what happens there, as faults.c has it.
        log: gets a record of every step.
        no_network: let none have it.
        before: runs first, in the forked process.
    """
    child, notes = launch(commands, folder, at=at, do=do, log=log, no_network=no_network, before=before)
    code = ended(child)
    calls, network = struct.unpack("2q", (notes / "state").read_bytes())
    said = (notes / "stderr").read_text(errors="replace")
    shutil.rmtree(notes)
    return Outcome(code, said, calls, network)


def launch(
    commands: Sequence[str],
    folder: Path,
    *,
    at: int = 0,
    do: str = "",
    log: Path | None = None,
    no_network: bool = False,
    before: Callable[[], Any] = lambda: None,
) -> tuple[int, Path]:
    """Begin a run, as `run`; gives its process and the folder of its notes: `state`, `stdout`, `stderr`."""
    notes = Path(tempfile.mkdtemp(prefix="faults-"))
    (notes / "state").write_bytes(bytes(16))
    settings = {"FAULTS_FOLDER": str(folder.resolve()), "FAULTS_STATE": str(notes / "state")}
    settings |= {"FAULTS_AT": str(at), "FAULTS_DO": do}
    if log is not None:
        log.write_bytes(b"")
        settings["FAULTS_LOG"] = str(log)
    if no_network:
        settings["FAULTS_NET"] = "1"

    def job() -> int:
        os.chdir(folder)
        for stream, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(notes / name, os.O_WRONLY | os.O_CREAT, 0o600), stream)
        sys.stdout, sys.stderr = (open(stream, "w", buffering=1, closefd=False) for stream in (1, 2))  # noqa: SIM115
        os.environ.update(settings)
        before()
        ctypes.CDLL(None).faults_arm()
        return first_failure(commands)

    return forked(job), notes


def first_failure(commands: Sequence[str]) -> int:
    """Run commands in this process; the exit code of the first that fails, or 0; quarantined recordings are none."""
    for command in commands:
        try:
            main(shlex.split(command))
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
            if code not in {0, QUARANTINED}:
                return code
    return 0


def forked(job: Callable[[], int]) -> int:
    """Run a job in a forked process, in a group of its own; gives its number."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    code = 99
    try:
        os.setsid()
        code = job()
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def ended(child: int) -> int:
    """Wait for a process and all of its group; gives its exit code, or minus the signal that ended it."""
    handle = os.pidfd_open(child)
    if not select.select([handle], [], [], LIMIT)[0]:
        os.killpg(child, signal.SIGKILL)
    os.close(handle)
    found = os.waitpid(child, 0)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-child, 0)
    return os.waitstatus_to_exitcode(found[1])


def quiet(commands: Sequence[str], folder: Path) -> None:
    """Run commands in this very process, which then has all that they import and compile; they must not fail."""
    was = Path.cwd()
    os.chdir(folder)
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            code = first_failure(commands)
    finally:
        os.chdir(was)
    if code:
        raise SystemExit(f"{commands}: does not even run undisturbed: {said.getvalue()}")


def bytes_of(path: Path) -> dict[str, str]:
    """sha256 of every file at or below a path, by its name there; logs of a training without its speed."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    return {str(file.relative_to(path)): hashlib.sha256(_told(file)).hexdigest() for file in files}


def _told(file: Path) -> bytes:
    if file.name != "log.jsonl":
        return file.read_bytes()
    try:
        lines = [json.loads(line) for line in file.read_text().splitlines()]
    except ValueError:
        return file.read_bytes()
    return json.dumps([{key: line[key] for key in line if key != "samples_per_second"} for line in lines]).encode()


def spread(total: int, count: int) -> Iterator[int]:
    """Steps from 1 to `total`: all of them when `count` is 0 or not less, else so many at even distances."""
    if count in (0, total) or count > total:
        yield from range(1, total + 1)
    else:
        yield from ((2 * n + 1) * total // (2 * count) + 1 for n in range(count))
