"""How fast text becomes a finished store, with one and two workers, against a plain Python reader that saves arrays.

Run: python benchmarks/bench_ingest.py [--clips 400] [--rounds 5]. The recordings are synthetic; warm page cache. Each
ingest is a process of its own; its time runs from the survey to the published store, workers' start included, Python's
imports not. Peak memory is that of the largest process.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import numpy as np
import zarr
from bench_parse import processor
from reference import parse_skeleton

from pipeline.synth import write_ntu

ROOT = Path(__file__).parents[1]
BASELINE_FILES = 4
INGEST = """
import json, resource, sys
from pathlib import Path
from pipeline import ingest, recipe
if __name__ == "__main__":
    raw, output, workers = sys.argv[1:]
    request = ingest.Request(dataset="ntu60", roots=(Path(raw),), output=Path(output), recipe=recipe.load("clean"),
                             workers=int(workers), force=True)
    report = ingest.run(request)
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(json.dumps({"seconds": report.seconds, "bytes": report.source_bytes, "store": report.store_bytes,
                      "clips": report.clips, "body_frames": report.body_frames, "peak": peak * 1024}))
"""


def ingest(script: Path, raw: Path, output: Path, workers: int) -> dict[str, float]:
    """One ingest in a new process: what it reports, and the peak memory in bytes."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(script), str(raw), str(output), str(workers)]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    report: dict[str, float] = json.loads(done.stdout)
    return report


def plain(paths: list[Path], output: Path) -> float:
    """Seconds of a reader that knows no numba: parse, keep all rows, np.savez."""
    start = time.perf_counter()
    clips = {}
    for path in paths:
        _, rows = parse_skeleton(path.read_bytes())
        clips[path.stem] = np.stack([xyz for _, _, _, xyz, _ in rows])
    np.savez(output, **clips)
    return time.perf_counter() - start


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--clips", type=int, default=400)
    options.add_argument("--rounds", type=int, default=5)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        written = write_ntu("ntu60", folder / "raw", clips=given.clips, seed=0)
        some = sorted((folder / "raw").iterdir())[:: max(1, given.clips // BASELINE_FILES)][:BASELINE_FILES]
        some_bytes = sum(path.stat().st_size for path in some)
        script = folder / "one_ingest.py"  # a file, since spawned workers import it again
        script.write_text(INGEST)
        report = ingest(script, folder / "raw", folder / "s.zarr", 1)  # fills numba's cache
        labels = {1: "ingest clean, 1 worker", 2: "ingest clean, 2 workers", 0: "plain Python, np.savez"}
        speeds: dict[str, list[float]] = {label: [] for label in labels.values()}
        peaks = dict.fromkeys(labels.values(), 0.0)
        for _ in range(given.rounds):
            for workers, label in labels.items():
                if not workers:
                    speeds[label].append(some_bytes / plain(some, folder / "plain.npz") / 1e6)
                    continue
                report = ingest(script, folder / "raw", folder / "s.zarr", workers)
                speeds[label].append(report["bytes"] / report["seconds"] / 1e6)
                peaks[label] = max(peaks[label], report["peak"])

    print(f"{processor()}, Python {platform.python_version()}, numpy {np.__version__}, zarr {zarr.__version__}")
    print(f"{written.files} synthetic files, {written.bytes / 1e6:.0f} MB, {given.rounds} interleaved rounds\n")
    base = statistics.median(speeds[labels[0]])
    print(f"{'':26}{'median MB/s':>12}{'best':>9}{'to plain':>10}{'peak MB':>10}")
    for label, values in speeds.items():
        median = statistics.median(values)
        peak = f"{peaks[label] / 1e6:10,.0f}" if peaks[label] else ""
        print(f"{label:26}{median:12,.1f}{max(values):9,.1f}{median / base:9.0f}x{peak}")
    print(f"\nstore: {report['store'] / report['clips'] / 1e3:.1f} MB per 1,000 clips, ", end="")
    print(f"{report['store'] / report['body_frames'] * 80 / 1e3:.1f} MB per 1,000 bodies of 80 frames")


if __name__ == "__main__":
    main()
