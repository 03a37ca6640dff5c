"""How fast text becomes a finished store, loose and zipped, against readers as the peers write them.

Run: python benchmarks/bench_ingest.py [--recordings 8000] [--rounds 5]. The recordings are synthetic, 400 different
texts under many names (hard links; the archive holds them all); warm page cache. Each ingest is a process of its own;
its time runs from the survey to the published store, workers' start included, Python's imports not.
"""

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import numpy as np
import zarr
from full_size import ENVIRONMENT, SKELEPIPE, all_names, write_loose, write_zips
from measure import watch

from pipeline.sources.ntu.names import NTU120
from pipeline.synth.synth import write
from trainer.bench.ingest import read_as_peers_do
from trainer.doctor.processor import processor_name

TEXTS = 400
BASELINE_FILES = 8
PLAIN = "as the peers: readline, split, float, dict; np.savez"


def plain(paths: list[Path], output: Path) -> float:
    """Seconds to read files as the peers do and keep them; no denoising, no normalising."""
    start = time.perf_counter()
    np.savez(output, **{path.stem: read_as_peers_do(path).astype(np.float32) for path in paths})
    return time.perf_counter() - start


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--recordings", type=int, default=8_000)
    options.add_argument("--rounds", type=int, default=5)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write("ntu120", folder / "texts", clips=min(TEXTS, given.recordings), seed=0)
        texts = sorted((folder / "texts").iterdir())
        names = all_names(given.recordings / (NTU120.captured - NTU120.missing))
        size = write_loose(folder / "loose", texts, names)
        write_zips(folder / "zips", texts, names)
        some = texts[:: max(1, len(texts) // BASELINE_FILES)][:BASELINE_FILES]
        some_bytes = sum(path.stat().st_size for path in some)

        speeds: dict[str, list[float]] = {PLAIN: []}
        peaks: dict[str, int] = {}
        for number in range(given.rounds + 1):  # the first fills numba's cache and is not counted
            speeds[PLAIN].append(some_bytes / plain(some, folder / "plain.npz") / 1e6)
            for kind in ("loose", "zips"):
                for workers in (1, 2):
                    label = f"`ingest` clean, {kind}, {workers} process{'es' * (workers > 1)}"
                    command = [*SKELEPIPE, "ingest", "ntu120", folder / kind, "--out", folder / "s.zarr"]
                    done = watch([*command, "--force", "--json", "--workers", str(workers)], ENVIRONMENT)
                    report = json.loads(done.output)
                    speeds.setdefault(label, []).append(size / report["seconds"] / 1e6)
                    peaks[label] = max(peaks.get(label, 0), done.peak if number else 0)

    print(f"{processor_name()}, Python {platform.python_version()}, numpy {np.__version__}, zarr {zarr.__version__}")
    print(f"{len(names):,} recordings, {size / 1e9:.2f} GB of synthetic text, {given.rounds} interleaved rounds\n")
    base = statistics.median(speeds[PLAIN][1:])
    print("| | median MB/s | best | to the peers' way | peak memory of all processes, MB |")
    print("|---|---|---|---|---|")
    for label, values in speeds.items():
        median = statistics.median(values[1:])
        peak = f"{peaks[label] / 1e6:,.0f}" if label in peaks else "not measured"
        print(f"| {label} | {median:,.0f} | {max(values[1:]):,.0f} | {median / base:.0f}x | {peak} |")
    per_body = report["store_bytes"] / report["body_frames"] * 80
    print(f"\nstore: {per_body / 1e3:.1f} MB per 1,000 bodies of 80 frames")


if __name__ == "__main__":
    main()
