"""Evaluate all methods, streams and protocols on UI-PRMD through the command line.

Run: python -m benchmarks.accuracy.ui_prmd UI-PRMD FOLDER

UI-PRMD is a folder data set (docs/data/folder.md) with a split xsub. A stopped benchmark resumes. FOLDER/table.md has
top-1 accuracy (%) on the test subjects after the last epoch, mean and standard deviation over seeds. Only `eval` uses
the test subjects.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

METHODS = ("skeletonclr", "skelemixclr", "skelemixclr+")
STREAMS = ("joint", "motion", "bone")
PROTOCOLS = ("knn", "linear", "semi-0.1", "finetune")
ROOT = Path(__file__).parents[2]


def main() -> None:
    """Run what is not there yet, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--set", nargs="*", default=[], help="over preset quick")
    parser.add_argument("--eval-set", nargs="*", default=["finetune.epochs=30", "semi.epochs=60"])
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    store = "processed/ui-prmd.zarr"
    skelepipe(asked.folder, "ingest", "folder", asked.data.resolve(), "--out", store)
    draws = [str(seed) for seed in range(3)]
    skelepipe(asked.folder, "build-splits", store, "--split", "xsub", "--label-fraction", "0.1", "--seed", *draws)
    runs = list(product(range(asked.seeds), asked.methods, STREAMS))
    with ThreadPoolExecutor(asked.processes) as pool:
        list(pool.map(lambda run: train(asked, store, *run), runs))
        list(pool.map(lambda which: evaluate(asked, *which), product(range(asked.seeds), asked.methods)))
    table = "\n".join(rows(asked.folder, asked.seeds, asked.methods))
    (asked.folder / "table.md").write_text(table + "\n", encoding="utf-8")
    print(table)


def name(seed: int, method: str, stream: str) -> str:
    """A run's folder."""
    return f"runs/{method.replace('+', '-plus')}-{stream}-{seed}"


def train(asked: argparse.Namespace, store: str, seed: int, method: str, stream: str) -> None:
    """Pre-train one run, or go on with it."""
    chosen = ["--preset", "quick", "--method", method, "--stream", stream, "--seed", str(seed)]
    settings = ["--set", *asked.set] if asked.set else []
    run = name(seed, method, stream)
    skelepipe(asked.folder, "pretrain", store, "--split", "xsub", *chosen, "--out", run, *settings)


def evaluate(asked: argparse.Namespace, seed: int, method: str) -> None:
    """Evaluate a method's streams, each alone and all as one, unless that is done."""
    runs = [name(seed, method, stream) for stream in STREAMS]
    fused = f"-with-{'+'.join(Path(run).name for run in runs[1:])}"
    if all(any((asked.folder / runs[0] / "eval").glob(f"{key}{fused}*.json")) for key in PROTOCOLS):
        return
    protocols = ["--protocol", *(key.partition("-")[0] for key in PROTOCOLS)]
    more = [] if method == asked.methods[0] else ["--no-baselines"]  # of all methods the same
    skelepipe(asked.folder, "eval", *runs, "--fuse", *more, *protocols, "--set", *asked.eval_set)


def skelepipe(folder: Path, *words: object) -> None:
    """One command, on one thread."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "cli", *map(str, words)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stderr}")


def rows(folder: Path, seeds: int, methods: Sequence[str]) -> Iterator[str]:
    """The table's lines: a column for each protocol and statistics, a row for each method and stream."""
    yield "| | stream | kNN | kNN, recalibrated | linear | linear, recalibrated | 10 % semi | fine-tune |"
    yield "|---|---|---|---|---|---|---|---|"
    columns = [
        ("knn", "pre-trained"),
        ("knn", "pre-trained, recalibrated"),
        ("linear", "pre-trained"),
        ("linear", "pre-trained, recalibrated"),
        ("semi-0.1", "pre-trained"),
        ("finetune", "pre-trained"),
    ]
    for method, stream in product(methods, (*STREAMS, "fusion")):
        yield line(folder, seeds, method, stream, columns, method)
    others = [
        ("random encoder", [("knn", ""), ("knn", "random encoder"), ("linear", ""), ("linear", "random encoder")]),
        ("supervised from scratch", [("", "")] * 4 + [(key, "supervised from scratch") for key in PROTOCOLS[2:]]),
    ]
    for label, wanted in others:
        for stream in (*STREAMS, "fusion"):
            yield line(folder, seeds, methods[0], stream, wanted + [("", "")] * (6 - len(wanted)), label)
    for stream in STREAMS:
        raw = result(folder, 0, methods[0], stream, "knn")["raw coordinates"]["top1"]
        yield f"| raw coordinates, 1-NN | {stream} | {raw:.1f} | | | | | |"


def line(folder: Path, seeds: int, method: str, stream: str, columns: list[tuple[str, str]], label: str) -> str:
    """One row: mean and standard deviation over seeds."""
    cells = []
    for key, row in columns:
        found = [result(folder, seed, method, stream, key)[row]["top1"] for seed in range(seeds)] if row else []
        deviation = f" ± {statistics.stdev(found):.1f}" if len(found) > 1 else ""
        cells.append(f"{statistics.fmean(found):.1f}{deviation}" if found else "")
    return f"| {label} | {stream} | {' | '.join(cells)} |"


def result(folder: Path, seed: int, method: str, stream: str, key: str) -> dict[str, Any]:
    """One protocol's rows of a run, or of the fusion of its streams."""
    first, *others = (name(seed, method, each) for each in (STREAMS if stream == "fusion" else [stream]))
    fused = f"-with-{'+'.join(Path(run).name for run in others)}" if others else ""
    pattern = f"{key}{fused}-????????.json"
    (path,) = (folder / first / "eval").glob(pattern)
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["rows"]
    return found


if __name__ == "__main__":
    main()
