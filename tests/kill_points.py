"""Kill an ingest at every step of its writing and at random times: what is left must be whole, and the next run go on.

Each kill is a SIGKILL to the whole process group. Steps are counted over all processes, before and after each change
of the file system. Afterwards the output must be absent, the old store or the complete new one; the same command again
must end in the bytes of an uninterrupted run and leave nothing beside it. Prints a table; exits 1 when anything fails.
"""

import argparse
import ctypes
import functools
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import ingest, jobs, partitions, recipe, verify
from pipeline.manifest import file_digest
from pipeline.synth import write

STEPS = ("mkdir", "rename", "replace", "fsync", "unlink", "rmdir")
"""What changes the file system, or brings it to the disk, all in `os`; shutil.rmtree is made of two of them."""
CLIPS, RECORDINGS = 8, 2
BESIDE = {".LATEST.json.lock", ".s.zarr.lock", "LATEST.json", "s.zarr"}
SUBREAPER = 36
"""prctl: orphans become children of this process, so that it can wait for all of a group."""


def count_steps(note: str, at: int) -> None:
    """From here on append a byte to a file for each step, and kill the group at the byte `at`."""

    def step() -> None:
        handle = os.open(note, os.O_WRONLY | os.O_APPEND)
        os.write(handle, b".")
        number = os.lseek(handle, 0, os.SEEK_CUR)
        os.close(handle)
        if number == at:
            os.killpg(0, signal.SIGKILL)

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def around(*args: Any, **options: Any) -> Any:
            step()
            result = function(*args, **options)
            step()
            return result

        return around

    for name in STEPS:
        setattr(os, name, counted(getattr(os, name)))


partitions.RECORDINGS = RECORDINGS
if "KILL_NOTE" in os.environ:  # a worker that was spawned by the process that is to be killed
    count_steps(os.environ["KILL_NOTE"], int(os.environ["KILL_AT"]))


@dataclass(frozen=True)
class Case:
    """A way to make the store at `output`."""

    raw: Path
    output: Path
    workers: int
    force: bool = False
    by_jobs: bool = False

    def __str__(self) -> str:
        how = "2 jobs, finalise" if self.by_jobs else f"{self.workers} workers"
        return how + (", --force over another store" if self.force else "")

    def request(self, name: str = "clean", **options: Any) -> ingest.Request:
        return ingest.Request(
            **{"dataset": "folder", "roots": (self.raw,), "output": self.output, "recipe": recipe.load(name)}
            | {"workers": self.workers, "force": self.force}
            | options
        )

    def run(self) -> None:
        if not self.by_jobs:
            ingest.run(self.request())
            return
        children = [forked(functools.partial(jobs.run, self.request(), (k, 2)), alone=False) for k in (1, 2)]
        codes = [os.waitpid(child, 0)[1] for child in children]
        if any(codes):
            raise SystemExit(1)
        jobs.finalise(self.output, force=self.force)


def forked(job: Callable[[], Any], *, alone: bool = True) -> int:
    """Run a job in a forked process, in a group of its own when it is `alone`; returns its number."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        if alone:
            os.setsid()
        job()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def ended(child: int) -> int:
    """Wait for a process and all of its group; returns its status."""
    status = os.waitpid(child, 0)[1]
    try:
        while True:
            os.waitpid(-child, 0)
    except ChildProcessError:
        return status


def bytes_of(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): file_digest(path) for path in sorted(folder.rglob("*")) if path.is_file()}


class Trial:
    """Kills of one case, each in a fresh copy of what stood there before."""

    def __init__(self, case: Case, note: Path) -> None:
        self.case, self.note = case, note
        self.found: Counter[str] = Counter()
        self.before = case.output.parent.with_name("before")
        shutil.rmtree(self.before, ignore_errors=True)
        shutil.rmtree(case.output.parent, ignore_errors=True)
        self.before.mkdir()
        self.old: dict[str, str] = {}
        if case.force:
            self.good(forked(lambda: ingest.run(case.request("none", workers=1))))
            case.output.parent.replace(self.before)
            self.old = bytes_of(self.before / case.output.name)
        self.fresh()
        self.steps = 0
        self.good(self.start(0))
        self.steps = self.note.stat().st_size
        self.new = bytes_of(case.output)
        self.latest = (case.output.parent / "LATEST.json").read_bytes()
        self.fresh()
        began = time.perf_counter()
        self.good(forked(case.run))
        self.seconds = time.perf_counter() - began

    def good(self, child: int) -> None:
        if ended(child):
            raise SystemExit(f"{self.case}: does not even run undisturbed")

    def fresh(self) -> None:
        shutil.rmtree(self.case.output.parent, ignore_errors=True)
        shutil.copytree(self.before, self.case.output.parent)
        self.note.write_bytes(b"")

    def start(self, at: int) -> int:
        def job() -> None:
            os.environ.update(KILL_NOTE=str(self.note), KILL_AT=str(at))
            count_steps(str(self.note), at)
            self.case.run()

        return forked(job)

    def kill_at_step(self, at: int) -> None:
        self.fresh()
        self.look(ended(self.start(at)), f"step {at}")

    def kill_at_time(self, seconds: float) -> None:
        self.fresh()
        child = forked(self.case.run)
        time.sleep(seconds)
        try:
            os.killpg(child, signal.SIGKILL)
        except ProcessLookupError:  # it has no group yet
            os.kill(child, signal.SIGKILL)
        self.look(ended(child), f"{seconds:.4f} s")

    def look(self, status: int, when: str) -> None:
        """What the kill has left, and what the same command makes of it."""
        output = self.case.output
        there = bytes_of(output) if output.exists() else None
        state = "absent" if there is None else "old" if there == self.old else "new" if there == self.new else "MIXED"
        if there is not None and verify.verify(output).findings:
            state = "DAMAGED"
        self.found[state] += 1
        self.found["killed" if os.WIFSIGNALED(status) else "ended before"] += 1
        left = {path.name for path in output.parent.iterdir()} - BESIDE
        self.found["left work"] += bool(left)
        trouble = [] if state in {"absent", "old", "new"} else [state]
        trouble += ["the next run failed"] if ended(forked(self.case.run)) else []
        trouble += [] if bytes_of(output) == self.new else ["other bytes"]
        beside = {path.name for path in output.parent.iterdir()}
        trouble += [] if beside == BESIDE else [f"beside it: {sorted(beside ^ BESIDE)}"]
        trouble += [] if (output.parent / "LATEST.json").read_bytes() == self.latest else ["LATEST.json"]
        if trouble:
            self.found["BAD"] += 1
            print(f"{self.case}, killed at {when}: {'; '.join(trouble)}")


def spread(total: int, count: int) -> Sequence[int]:
    """Steps from 1 to `total`: all of them, or `count` at even distances."""
    if count in (0, total) or count > total:
        return range(1, total + 1)
    return [(2 * n + 1) * total // (2 * count) + 1 for n in range(count)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=0, help="kills at steps, for each case; 0: at every one")
    parser.add_argument("--times", type=int, default=100, help="kills at random times, for each case")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument(
        "--spawn", action="store_true", help="start workers as skelepipe does; else they are forked, for speed"
    )
    asked = parser.parse_args()
    ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
    if not asked.spawn:
        whole = multiprocessing.get_context
        multiprocessing.get_context = lambda method=None: whole("fork")  # type: ignore[assignment,misc]
    heads = ("steps", "killed", "ended before", "absent", "old", "new", "left work", "BAD")
    print(f"{'case':42}" + "".join(f"{head:>14}" for head in heads))
    bad, chance = 0, random.Random(0)
    with tempfile.TemporaryDirectory() as name:
        raw, output = Path(name, "raw"), Path(name, "out", "s.zarr")
        write("folder", raw, clips=CLIPS, seed=3)
        warm = Case(raw, Path(name, "warm", "s.zarr"), 1)
        warm.run()  # compiled code is there when the others fork
        cases = [Case(raw, output, n) for n in asked.workers] + [
            Case(raw, output, n, force=True) for n in asked.workers
        ]
        cases += [Case(raw, output, 1, by_jobs=True), Case(raw, output, 1, force=True, by_jobs=True)]
        for case in cases:
            trial = Trial(case, Path(name, "steps"))
            for at in spread(trial.steps, asked.steps):
                trial.kill_at_step(at)
            for _ in range(asked.times):
                trial.kill_at_time(chance.uniform(0, trial.seconds))
            trial.found["steps"] = trial.steps
            print(f"{case!s:42}" + "".join(f"{trial.found[head]:14}" for head in heads), flush=True)
            bad += trial.found["BAD"]
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
