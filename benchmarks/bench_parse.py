"""How fast skeleton text is parsed, against reading it as the peers do, the tests' strict twin, and only reading it.

Run: python benchmarks/bench_parse.py [--files 200] [--rounds 7]. The files are synthetic; one core, warm page cache.
"""

import argparse
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import numba
import numpy as np
from measure import watch

from pipeline.sources.ntu.parser import parse
from pipeline.sources.text_buffer import TextReader
from tests.support.reference import parse_skeleton
from trainer.bench.ingest import read_as_peers_do
from trainer.doctor.processor import processor_name

PEERS = "as the peers read: readline, split, float, dict"
FIRST_FILE = """
import sys
from pathlib import Path
from pipeline.recipes.recipe import load_recipe
from pipeline.sources.registry import open_source
data = open_source("ntu60", [Path(sys.argv[1])])
entry = data.survey(keep_missing=False).entries[0]
assert next(data.read(entry, load_recipe("clean").frame_index)).recording.frames
assert "torch" not in sys.modules
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
        path = folder / f"S001C001P{number // 60 + 1:03d}R001A{number % 60 + 1:03d}.skeleton"
        path.write_bytes("\r\n".join([*lines, ""]).encode())
        paths.append(path)
    return paths


def megabytes_per_second(work: Callable[[Path], object], paths: list[Path]) -> float:
    start = time.perf_counter()
    for path in paths:
        work(path)
    return sum(path.stat().st_size for path in paths) / (time.perf_counter() - start) / 1e6


def first_file(folder: Path, cache: Path) -> float:
    """Seconds of a new process from its start to the first parsed file, survey of the folder included."""
    environment = {"NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": str(Path(__file__).parents[1])}
    return watch([sys.executable, "-c", FIRST_FILE, folder], environment).seconds


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
            PEERS: (read_as_peers_do, paths[:4]),
            "strict Python twin of the tests": (lambda path: parse_skeleton(path.read_bytes()), paths[:4]),
        }
        for work, some in contenders.values():
            work(some[-1])
        speeds: dict[str, list[float]] = {label: [] for label in contenders}
        for _ in range(given.rounds):
            for label, (work, some) in contenders.items():
                speeds[label].append(megabytes_per_second(work, some))
        cold = first_file(folder, folder / "cache")
        warm = statistics.median(first_file(folder, folder / "cache") for _ in range(given.rounds))

    print(f"{processor_name()}, Python {platform.python_version()}, numpy {np.__version__}, numba {numba.__version__}")
    print(f"{len(paths)} synthetic files, {size / 1e6:.0f} MB, {given.rounds} interleaved rounds, one core\n")
    base = statistics.median(speeds[PEERS])
    print("| | median MB/s | best | to the peers' way |")
    print("|---|---|---|---|")
    for label, values in speeds.items():
        median = statistics.median(values)
        print(f"| {label} | {median:,.0f} | {max(values):,.0f} | {median / base:.1f}x |")
    print(f"\nA new process has parsed its first file after {cold:.2f} s when the kernels must be compiled, ", end="")
    print(f"after {warm:.2f} s (median) when they are in the cache.")


if __name__ == "__main__":
    main()
