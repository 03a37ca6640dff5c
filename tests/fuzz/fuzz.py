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
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from tests.fuzz import big_files
from tests.fuzz.fuzz_judging import Judge, Target, Wrong
from tests.fuzz.fuzz_targets import BY_NAME, TARGETS
from tests.proofs import faults

FINDINGS_FOLDER = Path(__file__).parents[2] / "proof" / "fuzz"
CASE_SECONDS, START_SECONDS = 20.0, 600.0
"""Time limits for one case and for the start of a target."""
CHUNK_CASES = 2000
"""Cases that a worker process receives at once."""
TRACE_INTERVAL = 50
"""One in this many cases runs with every allocation traced, which is slow."""
MAX_GROWTH = 256 << 20
"""Bytes by which the peak may grow in one case, in addition to the allowance for the file size."""
MAX_ADDRESS_BYTES = 6 << 30
"""Address space in addition to that of a new process. Allocations beyond it fail with MemoryError."""
MIN_RATIO_BYTES = 1024
"""The ratio of memory to file size is only meaningful for files of at least this size."""
COUNTERS = ("cases", "refused", "twin", "findings", "slowest", "memory", "times")


@dataclass
class Tally:
    """Counters over the cases of a target."""

    cases: int = 0
    refused: int = 0
    twin: int = 0
    findings: int = 0
    slowest: int = 0
    """Microseconds."""
    memory: int = 0
    """Greatest peak of a traced case in bytes."""
    times: int = 0
    """Greatest peak of a traced case in hundredths of its file size, for files of 1 KiB and more."""

    def add(self, counters: Sequence[int]) -> None:
        values = dict(zip(COUNTERS, counters, strict=True))
        for name in ("cases", "refused", "twin", "findings"):
            setattr(self, name, getattr(self, name) + values[name])
        for name in ("slowest", "memory", "times"):
            setattr(self, name, max(getattr(self, name), values[name]))


@dataclass(frozen=True)
class SharedState:
    """State that a worker shares with its parent: the current case and the counters. It survives the worker."""

    case: Any
    """Number of the current case; -1 between chunks, -2 while a target starts."""
    counters: Any

    @classmethod
    def make(cls) -> "SharedState":
        return cls(
            multiprocessing.RawValue(ctypes.c_int64, -1), multiprocessing.RawArray(ctypes.c_int64, len(COUNTERS))
        )


def peak() -> int:
    """Return the peak memory of this process in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def run_case(target: Target, judge: Judge, content: bytes, *, traced: bool) -> tuple[bool, bool, int]:
    """Run one case; return whether it was refused, whether a twin agreed, and the memory peak if traced.

    Raises:
        Wrong: the parser behaved incorrectly.
    """
    allowance = target.times * len(content)
    before = peak()
    if traced:
        tracemalloc.start()
    try:
        outcome = judge(content)
        most = tracemalloc.get_traced_memory()[1] if traced else 0
    finally:
        tracemalloc.stop()
    if most > target.room + allowance:
        raise Wrong(f"took {most} bytes of memory for a file of {len(content)}")
    if peak() - before > MAX_GROWTH + allowance:
        raise Wrong(f"grew by {peak() - before} bytes for a file of {len(content)}")
    return outcome.refused, outcome.twin, most


def save_finding(target: Target, number: int, content: bytes, message: str) -> None:
    """Write a finding to disk: the file of the case and the error message."""
    FINDINGS_FOLDER.mkdir(parents=True, exist_ok=True)
    name = f"{target.name.replace(' ', '-').replace('/', '-')}-{number}"
    (FINDINGS_FOLDER / f"{name}.bin").write_bytes(content)
    (FINDINGS_FOLDER / f"{name}.txt").write_text(
        f"--only '{target.name}:{number}'\n{message}\n", errors="backslashreplace"
    )


def work(shared: SharedState, chunks: Any, seed: int) -> None:
    """Receive chunks (target, first, end) and run them until None arrives."""
    with Path("/proc/self/statm").open() as statm:
        size = int(statm.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MAX_ADDRESS_BYTES, resource.RLIM_INFINITY))
    ready: dict[str, tuple[Sequence[bytes], Judge]] = {}
    with tempfile.TemporaryDirectory(dir=faults.MEMORY) as folder:
        while (chunk := chunks.recv()) is not None:
            name, first, end = chunk
            target = BY_NAME[name]
            if name not in ready:
                shared.case.value = -2
                target_folder = Path(folder, str(zlib.crc32(name.encode())))
                target_folder.mkdir()
                ready[name] = target.start(target_folder)
                # Warm-up: imports and compilation do not count for a case.
                for content in ready[name][0]:
                    ready[name][1](content)
            run_chunk(shared, target, *ready[name], seed, range(first, end))
            shared.case.value = -1
            chunks.send(None)


def run_chunk(
    shared: SharedState, target: Target, seeds: Sequence[bytes], judge: Judge, seed: int, numbers: range
) -> None:
    counters = shared.counters
    for number in numbers:
        shared.case.value = number
        content = target.content(seeds, seed, number)
        began = time.perf_counter()
        traced = number % TRACE_INTERVAL == 0
        try:
            refused, twin, memory = run_case(target, judge, content, traced=traced)
        except Wrong as error:
            counters[3] += 1
            save_finding(target, number, content, str(error))
        else:
            counters[1] += refused
            counters[2] += twin
            counters[5] = max(counters[5], memory)
            if len(content) >= MIN_RATIO_BYTES:
                counters[6] = max(counters[6], 100 * memory // len(content))
        counters[0] += 1
        if not traced:
            counters[4] = max(counters[4], int(1e6 * (time.perf_counter() - began)))


class Lane:
    """Run cases in one worker process at a time; replace the process when it dies or hangs."""

    def __init__(self, seed: int, hang: float = CASE_SECONDS, method: str = "spawn") -> None:
        self.seed, self.hang, self.method = seed, hang, method
        self.process: BaseProcess | None = None

    def start(self) -> None:
        self.shared = SharedState.make()
        self.chunks, worker_end = multiprocessing.Pipe()
        context = multiprocessing.get_context(self.method)
        self.process = context.Process(target=work, args=(self.shared, worker_end, self.seed), daemon=True)
        self.process.start()
        worker_end.close()

    def stop(self) -> None:
        if self.process and self.process.is_alive():
            self.chunks.send(None)
            self.process.join(10)
            self.process.kill()
        self.process = None

    def run(self, target: Target, first: int, end: int, tally: Tally) -> None:
        """Run cases first..end-1, even if some of them kill or block the worker process."""
        while first < end:
            if self.process is None:
                self.start()
            self.shared.counters[:] = [0] * len(COUNTERS)
            self.chunks.send((target.name, first, end))
            failure = self._wait()
            tally.add(self.shared.counters)
            if not failure:
                return
            number = self.shared.case.value
            self.process = None
            if number < 0:
                raise RuntimeError(f"{target.name}: {failure} before the first case")
            tally.cases += 1
            tally.findings += 1
            save_finding(target, number, content_of(target, self.seed, number), failure)
            first = number + 1

    def _wait(self) -> str:
        """Wait for the end of the chunk; return a message if the process died or hung, otherwise an empty string."""
        assert self.process
        last, since = None, time.monotonic()
        while not self.chunks.poll(0.2):
            if not self.process.is_alive():
                self.process.join()
                return f"the process ended with {self.process.exitcode}"
            now = self.shared.case.value
            if now != last:
                last, since = now, time.monotonic()
            if time.monotonic() - since > (self.hang if now >= 0 else START_SECONDS):
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
    with tempfile.TemporaryDirectory(dir=faults.MEMORY) as folder:
        return target.content(target.start(Path(folder))[0], seed, number)


def run_all(counts: dict[str, int], seed: int, lanes: int) -> dict[str, Tally]:
    """Run `counts` cases of each target in several processes, slow targets first."""
    tallies = {name: Tally() for name in counts}
    waiting: queue.SimpleQueue[tuple[str, int, int]] = queue.SimpleQueue()
    for name, count in sorted(counts.items(), key=lambda item: item[1]):
        for first in range(0, count, CHUNK_CASES):
            waiting.put((name, first, min(count, first + CHUNK_CASES)))
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
        raise RuntimeError("a worker thread has stopped") from failed[0]
    return tallies


def table(tallies: dict[str, Tally]) -> str:
    """Return a table with a line for each target and one for the total."""
    total = Tally()
    lines = [
        f"{'target':30}{'cases':>11}{'accepted':>11}{'refused':>11}{'twin agrees':>13}{'slowest ms':>12}"
        f"{'peak MiB':>10}{'x file':>8}{'FOUND':>7}"
    ]
    for name, tally in [*tallies.items(), ("all", total)]:
        accepted = tally.cases - tally.refused - tally.findings
        lines.append(
            f"{name:30}{tally.cases:11,}{accepted:11,}{tally.refused:11,}{tally.twin:13,}"
            f"{tally.slowest / 1e3:12.1f}{tally.memory / 2**20:10.1f}{tally.times / 100:8.1f}{tally.findings:7,}"
        )
        total.add([getattr(tally, counter) for counter in COUNTERS])
    return "\n".join(lines)


def repeat(case: str, seed: int) -> int:
    """Run one case in this process and print the result."""
    name, _, number = case.rpartition(":")
    target = BY_NAME[name]
    with tempfile.TemporaryDirectory(dir=faults.MEMORY) as folder:
        seeds, judge = target.start(Path(folder))
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
    parser.add_argument("--cases", type=int, default=1_050_000, help="approximate number of cases over all targets")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--targets", nargs="+", default=[*BY_NAME], choices=[*BY_NAME], metavar="TARGET")
    parser.add_argument("--lanes", type=int, default=2, help="number of worker processes")
    parser.add_argument("--only", metavar="TARGET:NUMBER", help="repeat a single case")
    parser.add_argument("--big", type=int, default=2000, metavar="MB", help="size of the big files; 0 skips them")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        # A separate cache: numba would otherwise reuse kernels compiled without bounds checks.
        os.environ |= {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": cache, "OMP_NUM_THREADS": "1"}
        if options.only:
            return repeat(options.only, options.seed)
        chosen = [target for target in TARGETS if target.name in options.targets]
        shares = sum(target.share for target in chosen)
        counts = {target.name: -(-options.cases * target.share // shares) for target in chosen}
        began = time.monotonic()
        tallies = run_all(counts, options.seed, options.lanes)
        print(table(tallies))
        print(f"{(time.monotonic() - began) / 60:.1f} minutes, seed {options.seed}")
        findings = sum(tally.findings for tally in tallies.values())
        if options.big:
            findings += big_files.run_all(options.big * 1_000_000)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
