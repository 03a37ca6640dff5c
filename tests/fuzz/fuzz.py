"""Fuzz every parser with damaged files, each read by a process that may crash, hang or grow.

A case depends only on its target, the seed and its number: `--only "ntu text:4711"` repeats one. All kernels are
compiled with bounds checks. A case fails when the target's check (tests/fuzz/fuzz_judging.py) reports it, when it
takes more memory than a small multiple of the file's size, when it takes too long, or when the process dies.
"""

import argparse
import ctypes
import multiprocessing
import os
import queue
import resource
import sys
import tempfile
import threading
import time
import tracemalloc
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from tests.fuzz import big_files
from tests.fuzz.fuzz_judging import Judge, Target, Wrong
from tests.fuzz.fuzz_targets import BY_NAME, TARGETS
from tests.proofs import faults

FOUND = Path(__file__).parents[2] / "proof" / "fuzz"
HANG, START = 20.0, 600.0
"""Seconds after which a case, or the making of a target, is taken for hung."""
CHUNK = 2000
"""Cases that a process is given at once."""
TRACED = 50
"""Of so many cases one is run with every allocation traced, which is slow."""
GROWTH = 256 << 20
"""Bytes by which a process's peak may grow in one case beyond its file's share, whoever allocates."""
MOST = 6 << 30
"""Bytes of addresses beyond those of a fresh process: what asks for more is told that there are none."""
LARGE = 1024
"""Bytes of a file from which on its share of memory means something."""
COUNTERS = ("cases", "refused", "twin", "findings", "slowest", "memory", "times")


@dataclass
class Tally:
    """What came of a target's cases."""

    cases: int = 0
    refused: int = 0
    twin: int = 0
    findings: int = 0
    slowest: int = 0
    """Microseconds."""
    memory: int = 0
    """Bytes at the peak of the traced case that took the most."""
    times: int = 0
    """The most bytes that a traced case took, in hundredths of its file's size, of files of 1 KiB and more."""
    told: list[str] = field(default_factory=list)

    def add(self, counters: Sequence[int]) -> None:
        found = dict(zip(COUNTERS, counters, strict=True))
        for name in ("cases", "refused", "twin", "findings"):
            setattr(self, name, getattr(self, name) + found[name])
        for name in ("slowest", "memory", "times"):
            setattr(self, name, max(getattr(self, name), found[name]))


@dataclass(frozen=True)
class Line:
    """What a worker and its parent share: where it is, and its counters, which outlive it."""

    at: Any
    """The number of the case in hand; -1 between chunks, -2 while a target is made."""
    counters: Any

    @classmethod
    def make(cls) -> "Line":
        return cls(
            multiprocessing.RawValue(ctypes.c_int64, -1), multiprocessing.RawArray(ctypes.c_int64, len(COUNTERS))
        )


def peak() -> int:
    """Bytes that this process has had in memory at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def run_case(target: Target, judge: Judge, content: bytes, *, traced: bool) -> tuple[bool, bool, int]:
    """Whether it was refused, whether a twin said the same, and the peak of memory if that was traced.

    Raises:
        Wrong: the parser did what it must not.
    """
    share = target.times * len(content)
    before = peak()
    if traced:
        tracemalloc.start()
    try:
        outcome = judge(content)
        most = tracemalloc.get_traced_memory()[1] if traced else 0
    finally:
        tracemalloc.stop()
    if most > target.room + share:
        raise Wrong(f"took {most} bytes of memory for a file of {len(content)}")
    if peak() - before > GROWTH + share:
        raise Wrong(f"grew by {peak() - before} bytes for a file of {len(content)}")
    return outcome.refused, outcome.twin, most


def keep(target: Target, number: int, content: bytes, said: str) -> None:
    """Keep a finding: its file, and what is wrong with it."""
    FOUND.mkdir(parents=True, exist_ok=True)
    name = f"{target.name.replace(' ', '-').replace('/', '-')}-{number}"
    (FOUND / f"{name}.bin").write_bytes(content)
    (FOUND / f"{name}.txt").write_text(f"--only '{target.name}:{number}'\n{said}\n", errors="backslashreplace")


def work(line: Line, chunks: Any, seed: int) -> None:
    """Run the chunks (target, first, end) that come, until there are no more."""
    with Path("/proc/self/statm").open() as statm:
        size = int(statm.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MOST, resource.RLIM_INFINITY))
    ready: dict[str, tuple[Sequence[bytes], Judge]] = {}
    with tempfile.TemporaryDirectory(dir=faults.MEMORY) as place:
        while (chunk := chunks.recv()) is not None:
            name, first, end = chunk
            target = BY_NAME[name]
            if name not in ready:
                line.at.value = -2
                folder = Path(place, str(zlib.crc32(name.encode())))
                folder.mkdir()
                ready[name] = target.start(folder)
                for content in ready[name][0]:  # what is loaded or compiled at the first case is not a case's
                    ready[name][1](content)
            run_chunk(line, target, *ready[name], seed, range(first, end))
            line.at.value = -1
            chunks.send(None)


def run_chunk(line: Line, target: Target, seeds: Sequence[bytes], judge: Judge, seed: int, numbers: range) -> None:
    counters = line.counters
    for number in numbers:
        line.at.value = number
        content = target.content(seeds, seed, number)
        began = time.perf_counter()
        traced = number % TRACED == 0
        try:
            refused, twin, memory = run_case(target, judge, content, traced=traced)
        except Wrong as error:
            counters[3] += 1
            keep(target, number, content, str(error))
        else:
            counters[1] += refused
            counters[2] += twin
            counters[5] = max(counters[5], memory)
            if len(content) >= LARGE:
                counters[6] = max(counters[6], 100 * memory // len(content))
        counters[0] += 1
        if not traced:
            counters[4] = max(counters[4], int(1e6 * (time.perf_counter() - began)))


class Lane:
    """One worker process at a time, replaced when it dies or hangs, and the cases that it is given."""

    def __init__(self, seed: int, hang: float = HANG, method: str = "spawn") -> None:
        self.seed, self.hang, self.method = seed, hang, method
        self.process: BaseProcess | None = None

    def start(self) -> None:
        self.line = Line.make()
        self.chunks, theirs = multiprocessing.Pipe()
        context = multiprocessing.get_context(self.method)
        self.process = context.Process(target=work, args=(self.line, theirs, self.seed), daemon=True)
        self.process.start()
        theirs.close()

    def stop(self) -> None:
        if self.process and self.process.is_alive():
            self.chunks.send(None)
            self.process.join(10)
            self.process.kill()
        self.process = None

    def run(self, target: Target, first: int, end: int, tally: Tally) -> None:
        """Run cases first..end-1 to the last, whatever some of them do to their process."""
        while first < end:
            if self.process is None:
                self.start()
            self.line.counters[:] = [0] * len(COUNTERS)
            self.chunks.send((target.name, first, end))
            mishap = self._wait()
            tally.add(self.line.counters)
            if not mishap:
                return
            number = self.line.at.value
            self.process = None
            if number < 0:
                raise RuntimeError(f"{target.name}: {mishap} before the first case")
            tally.cases += 1
            tally.findings += 1
            keep(target, number, content_of(target, self.seed, number), mishap)
            first = number + 1

    def _wait(self) -> str:
        """Wait for the chunk's end; what became of the process if that does not come."""
        assert self.process
        last, since = None, time.monotonic()
        while not self.chunks.poll(0.2):
            if not self.process.is_alive():
                self.process.join()
                return f"the process ended with {self.process.exitcode}"
            now = self.line.at.value
            if now != last:
                last, since = now, time.monotonic()
            if time.monotonic() - since > (self.hang if now >= 0 else START):
                self.process.kill()
                self.process.join()
                return f"no answer within {self.hang:g} s"
        try:
            self.chunks.recv()
        except EOFError:
            self.process.join()
            return f"the process ended with {self.process.exitcode}"
        return ""


def content_of(target: Target, seed: int, number: int) -> bytes:
    with tempfile.TemporaryDirectory(dir=faults.MEMORY) as place:
        return target.content(target.start(Path(place))[0], seed, number)


def run_all(counts: dict[str, int], seed: int, lanes: int) -> dict[str, Tally]:
    """So many cases of each target, in several processes, the slow targets first."""
    tallies = {name: Tally() for name in counts}
    waiting: queue.SimpleQueue[tuple[str, int, int]] = queue.SimpleQueue()
    for name, count in sorted(counts.items(), key=lambda item: item[1]):
        for first in range(0, count, CHUNK):
            waiting.put((name, first, min(count, first + CHUNK)))
    total, lock, failed = waiting.qsize(), threading.Lock(), list[BaseException]()

    def serve() -> None:
        lane = Lane(seed)
        try:
            while not failed:
                try:
                    name, first, end = waiting.get_nowait()
                except queue.Empty:
                    break
                tally = Tally()
                lane.run(BY_NAME[name], first, end, tally)
                with lock:
                    tallies[name].add([getattr(tally, counter) for counter in COUNTERS])
                    left = waiting.qsize()
                if sys.stderr.isatty():
                    print(f"\r{total - left} of {total} chunks", end="", file=sys.stderr, flush=True)
        except BaseException as error:
            failed.append(error)
            raise
        finally:
            lane.stop()

    threads = [threading.Thread(target=serve) for _ in range(lanes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise RuntimeError("a lane has stopped") from failed[0]
    return tallies


def table(tallies: dict[str, Tally]) -> str:
    """All targets and their sum, a line each."""
    total = Tally()
    lines = [
        f"{'target':30}{'cases':>11}{'accepted':>11}{'refused':>11}{'as twin':>11}{'slowest ms':>12}{'most MiB':>10}"
        f"{'x file':>8}{'FOUND':>7}"
    ]
    for name, tally in [*tallies.items(), ("all", total)]:
        accepted = tally.cases - tally.refused - tally.findings
        lines.append(
            f"{name:30}{tally.cases:11,}{accepted:11,}{tally.refused:11,}{tally.twin:11,}"
            f"{tally.slowest / 1e3:12.1f}{tally.memory / 2**20:10.1f}{tally.times / 100:8.1f}{tally.findings:7,}"
        )
        total.add([getattr(tally, counter) for counter in COUNTERS])
    return "\n".join(lines)


def repeat(case: str, seed: int) -> int:
    """Run one case here, told what came of it."""
    name, _, number = case.rpartition(":")
    target = BY_NAME[name]
    with tempfile.TemporaryDirectory(dir=faults.MEMORY) as place:
        seeds, judge = target.start(Path(place))
        content = target.content(seeds, seed, int(number))
        print(f"{case}: {len(content)} bytes, {content[:200]!r}")
        try:
            for first in seeds:
                judge(first)
            print(run_case(target, judge, content, traced=True))
        except Wrong as error:
            print(error, *([f"from {error.__cause__!r}"] if error.__cause__ else []))
            return 1
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=1_050_000, help="about so many, of all targets together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--targets", nargs="+", default=[*BY_NAME], choices=[*BY_NAME], metavar="TARGET")
    parser.add_argument("--lanes", type=int, default=2, help="processes")
    parser.add_argument("--only", metavar="TARGET:NUMBER", help="repeat one case")
    parser.add_argument("--big", type=int, default=2000, metavar="MB", help="size of the big files; 0 for none")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        # In a cache of its own: numba would take kernels that were compiled without the check.
        os.environ |= {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": cache, "OMP_NUM_THREADS": "1"}
        if asked.only:
            return repeat(asked.only, asked.seed)
        chosen = [target for target in TARGETS if target.name in asked.targets]
        shares = sum(target.share for target in chosen)
        counts = {target.name: -(-asked.cases * target.share // shares) for target in chosen}
        began = time.monotonic()
        tallies = run_all(counts, asked.seed, asked.lanes)
        print(table(tallies))
        print(f"{(time.monotonic() - began) / 60:.1f} minutes, seed {asked.seed}")
        wrong = sum(tally.findings for tally in tallies.values())
        if asked.big:
            wrong += big_files.run_all(asked.big * 1_000_000)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
