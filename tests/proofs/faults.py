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
from trainer.runs.log import MEASURED

ROOT = Path(__file__).parents[2]
SOURCE = Path(__file__).with_name("faults.c")
SUBREAPER = 36
"""prctl option: orphans become children of this process, so that it can wait for a whole group."""
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""Parent of temporary folders: without waiting for a disk, thousands of syncs take half the time."""
LIMIT = 120.0
"""Seconds after which a run counts as hanging."""
FAILED, CREATE, WRITE, TRUNCATE, SYNC, RENAME, MKDIR, UNLINK, RMDIR, OTHER = range(10)
"""Kinds of records, as in faults.c."""


def compiler() -> str | None:
    """Return the C compiler, or None where there is none or LD_PRELOAD is not supported."""
    return shutil.which("cc") if sys.platform == "linux" else None


def library() -> Path:
    """Compile faults.c, once for each version of it."""
    made = Path(tempfile.gettempdir(), f"skelepipe-faults-{hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]}.so")
    if not made.exists():
        own = made.with_suffix(f".{os.getpid()}")
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", own, SOURCE, "-ldl"], check=True)
        own.replace(made)
    return made


def start() -> None:
    """Restart this program with faults.c preloaded, unless it is already."""
    if os.environ.get("LD_PRELOAD") != str(library()):
        whole = {"LD_PRELOAD": str(library()), "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
        whole["PYTHONPATH"] = str(ROOT)
        whole["NUMBA_THREADING_LAYER"] = "workqueue"  # GNU OpenMP aborts in forked processes
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | whole)
    ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
    whole_context = multiprocessing.get_context  # fork worker processes, for speed
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
    """Read the recorded changes of a run."""
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
    """Exit code, or the negative signal number."""
    said: str
    """Its stderr."""
    steps: int
    """Number of successful and failed changes of the file system."""
    network: int
    """Number of network calls."""


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
    """Run commands of skelepipe in a folder until one fails.

    Args:
        commands: command lines without the program's name.
        folder: the working folder, whose changes are counted.
        at: the number of the step with the fault; 0: no fault.
        do: the fault, in the notation of faults.c.
        log: file to which every step is recorded.
        no_network: refuse network access.
        before: called first in the forked process.
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
    """Start a run like `run`; return its process id and the folder with `state`, `stdout` and `stderr`."""
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
    """Run commands in this process; return the first failing exit code, or 0. Quarantined recordings are no failure."""
    for command in commands:
        try:
            main(shlex.split(command))
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
            if code not in {0, QUARANTINED}:
                return code
    return 0


def forked(job: Callable[[], int]) -> int:
    """Run a job in a forked process with its own process group; return its process id."""
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
    """Wait for a process and its group; return its exit code, or the negative signal number."""
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
    """Run commands in this process, so that later forks have their imports and compiled code; they must not fail."""
    was = Path.cwd()
    os.chdir(folder)
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            code = first_failure(commands)
    finally:
        os.chdir(was)
    if code:
        raise SystemExit(f"{commands}: failed without a fault: {said.getvalue()}")


def bytes_of(path: Path) -> dict[str, str]:
    """Return the SHA-256 of every file at or below a path; the speed in training logs is ignored."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    return {str(file.relative_to(path)): hashlib.sha256(_told(file)).hexdigest() for file in files}


def _told(file: Path) -> bytes:
    if file.name != "log.jsonl":
        return file.read_bytes()
    try:
        lines = [json.loads(line) for line in file.read_text().splitlines()]
    except ValueError:
        return file.read_bytes()
    return json.dumps([{key: line[key] for key in line if key not in MEASURED} for line in lines]).encode()


def spread(total: int, count: int) -> Iterator[int]:
    """Yield `count` evenly spaced steps from 1 to `total`; all steps if `count` is 0 or too large."""
    if count in (0, total) or count > total:
        yield from range(1, total + 1)
    else:
        yield from ((2 * n + 1) * total // (2 * count) + 1 for n in range(count))
