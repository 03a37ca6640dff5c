"""How fast skeleton text is parsed, against the plain Python twin and against only reading it.

Run: python benchmarks/bench_parse.py [--files 200] [--rounds 7]. The files are synthetic; one core, warm page cache.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import numba
import numpy as np
from reference import parse_skeleton

from pipeline.ntu_text import TextReader, parse

FIRST_FILE = """
import sys, time
from pathlib import Path
from pipeline.ntu_text import TextReader, parse
reader = TextReader()
size, _ = reader.read_file(Path(sys.argv[1]))
start = time.perf_counter()
parse(reader.text, size, source=sys.argv[1], name="first")
print(time.perf_counter() - start)
"""


def write_files(folder: Path, count: int) -> list[Path]:
    """Files of about 80 frames in NTU's grammar and seven-digit numbers; every fourth has two bodies."""
    draw = np.random.default_rng(0)
    paths = []
    for number in range(count):
        frames, bodies = int(draw.integers(60, 101)), 2 if number % 4 == 3 else 1
        lines = [str(frames)]
        for _ in range(frames):
            lines.append(str(bodies))
            for body in range(bodies):
                lean = draw.normal(0, 0.1, 2)
                lines += [f"{72057594037931101 + body} 0 1 1 1 1 0 {lean[0]:.7g} {lean[1]:.7g} 2", "25"]
                xyz = draw.normal((0, 0, 3.5), (0.4, 0.5, 0.3), (25, 3))
                pixels = draw.uniform((200, 100, 700, 300), (300, 300, 1200, 700), (25, 4))
                turns = draw.uniform(-1, 1, (25, 4))
                states = draw.integers(1, 3, 25)
                for row, state in zip(np.hstack([xyz, pixels, turns]), states, strict=True):
                    lines.append(" ".join(f"{value:.7g}" for value in row) + f" {state}")
        path = folder / f"S001C001P001R001A{number:03d}.skeleton"
        path.write_bytes("\r\n".join([*lines, ""]).encode())
        paths.append(path)
    return paths


def megabytes_per_second(work: Callable[[Path], object], paths: list[Path]) -> float:
    start = time.perf_counter()
    for path in paths:
        work(path)
    return sum(path.stat().st_size for path in paths) / (time.perf_counter() - start) / 1e6


def first_file(path: Path, cache: Path) -> tuple[float, float]:
    """Seconds of a new process, whole and in its first parse."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": str(Path(__file__).parents[1])}
    start = time.perf_counter()
    command = [sys.executable, "-c", FIRST_FILE, str(path)]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return time.perf_counter() - start, float(done.stdout)


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--files", type=int, default=200)
    options.add_argument("--rounds", type=int, default=7)
    given = options.parse_args()
    reader = TextReader()

    def bare_read(path: Path) -> None:
        with path.open("rb", buffering=0) as stream:
            stream.readinto(reader.text.data)

    def ours(path: Path) -> None:
        size, _ = reader.read_file(path)
        parse(reader.text, size, source=str(path), name=path.stem)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = write_files(folder, given.files)
        size = sum(path.stat().st_size for path in paths)
        contenders: dict[str, tuple[Callable[[Path], object], list[Path]]] = {
            "read() alone": (bare_read, paths),
            "read and crc32": (reader.read_file, paths),
            "read, crc32 and parse": (ours, paths),
            "plain Python twin": (lambda path: parse_skeleton(path.read_bytes()), paths[:4]),
        }
        for work, some in contenders.values():
            work(some[-1])
        speeds: dict[str, list[float]] = {label: [] for label in contenders}
        for _ in range(given.rounds):
            for label, (work, some) in contenders.items():
                speeds[label].append(megabytes_per_second(work, some))
        cold, cold_parse = first_file(paths[0], folder / "cache")
        warm, warm_parse = first_file(paths[0], folder / "cache")

    print(f"{processor()}, Python {platform.python_version()}, numpy {np.__version__}, numba {numba.__version__}")
    print(f"{len(paths)} synthetic files, {size / 1e6:.0f} MB, {given.rounds} interleaved rounds, one core\n")
    twin = statistics.median(speeds["plain Python twin"])
    print(f"{'':24}{'median MB/s':>12}{'best':>9}{'to twin':>9}")
    for label, values in speeds.items():
        median = statistics.median(values)
        print(f"{label:24}{median:12,.0f}{max(values):9,.0f}{median / twin:8.0f}x")
    print(f"\nfirst file in a new process: {cold:.2f} s when kernels must be compiled (parse {cold_parse:.2f} s),")
    print(f"{' ' * 29}{warm:.2f} s when they are in the cache (parse {warm_parse:.2f} s)")


if __name__ == "__main__":
    main()
