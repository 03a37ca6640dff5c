"""Compare the accuracy of pre-training in bf16 and in float32 on UI-PRMD, seed by seed.

Run: python -m benchmarks.accuracy.half_precision UI-PRMD FOLDER [--seeds 3] [--streams bone]

UI-PRMD is a folder data set (docs/data/folder.md) with a split xsub. Preset quick, 40 epochs; all evaluations in
float32. A stopped benchmark resumes. The table has top-1 accuracy (%) on the test subjects after the last epoch for
each seed, the mean difference, and the standard deviation over the float32 seeds.
"""

import argparse
import json
import os
import statistics
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

from benchmarks.accuracy.ui_prmd import skelepipe

PRECISIONS = ("fp32", "bf16")
STORE = "processed/ui-prmd.zarr"
COLUMNS = tuple(product(("knn", "linear"), ("pre-trained", "pre-trained, recalibrated")))


def main() -> None:
    """Run what is not there yet, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--streams", nargs="+", default=["bone"])
    parser.add_argument("--set", nargs="*", default=["epochs=40"], help="over preset quick")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    skelepipe(asked.folder, "ingest", "folder", asked.data.resolve(), "--out", STORE)
    skelepipe(asked.folder, "build-splits", STORE, "--split", "xsub")
    runs = list(product(asked.streams, range(asked.seeds), PRECISIONS))
    with ThreadPoolExecutor(asked.processes) as pool:
        list(pool.map(lambda run: train(asked, *run), runs))
    print("| stream | seed | precision | " + " | ".join(f"{key}, {row}" for key, row in COLUMNS) + " |")
    print("|---" * (3 + len(COLUMNS)) + "|")
    for stream in asked.streams:
        table(asked.folder, stream, asked.seeds)


def name(stream: str, seed: int, precision: str) -> str:
    """A run's folder."""
    return f"runs/{stream}-{precision}-{seed}"


def train(asked: argparse.Namespace, stream: str, seed: int, precision: str) -> None:
    """Pre-train and evaluate one run, or go on with it."""
    run = name(stream, seed, precision)
    chosen = ["--preset", "quick", "--stream", stream, "--seed", seed, "--out", run]
    skelepipe(
        asked.folder, "pretrain", STORE, "--split", "xsub", *chosen, "--set", *asked.set, f"precision={precision}"
    )
    if not any((asked.folder / run / "eval").glob("linear*.json")):
        skelepipe(asked.folder, "eval", run, "--no-baselines", "--set", "linear.learning_rate=0.3")


def table(folder: Path, stream: str, seeds: int) -> None:
    """A stream's rows: every run, then the difference that precision makes and the spread that seeds do."""
    found = {
        (precision, seed): [top1(folder / name(stream, seed, precision), *column) for column in COLUMNS]
        for seed, precision in product(range(seeds), PRECISIONS)
    }
    for (precision, seed), cells in found.items():
        print(f"| {stream} | {seed} | {precision} | " + " | ".join(f"{cell:.1f}" for cell in cells) + " |")
    for what, combine in (
        ("mean of bf16 less fp32", lambda fp32, bf16: f"{statistics.fmean(bf16) - statistics.fmean(fp32):+.1f}"),
        ("deviation over seeds in fp32", lambda fp32, _: f"{statistics.stdev(fp32):.1f}" if seeds > 1 else ""),
    ):
        columns = [
            combine(*([found[precision, seed][column] for seed in range(seeds)] for precision in PRECISIONS))
            for column in range(len(COLUMNS))
        ]
        print(f"| {stream} | | {what} | " + " | ".join(columns) + " |")


def top1(run: Path, protocol: str, row: str) -> float:
    """Per cent of one representation."""
    (path,) = (run / "eval").glob(f"{protocol}*.json")
    return float(json.loads(path.read_text(encoding="utf-8"))["rows"][row]["top1"])


if __name__ == "__main__":
    main()
