"""Print the results of `gpu.sh`: the machine, and a table of its parts with the main figures.

Run: python -m benchmarks.gpu.gpu_report machine, or table FOLDER, which exits 1 when a part of the folder has failed.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

ASKED = "name,memory.total,driver_version,clocks.max.sm,power.limit"


def machine() -> None:
    """Print the GPU, the processor and the versions."""
    import torch

    from trainer.bench.timing import git_commit
    from trainer.doctor.processor import processor_name

    command = ["nvidia-smi", f"--query-gpu={ASKED}", "--format=csv,noheader"]
    try:
        print(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip())
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"nvidia-smi: {error}")
    cudnn = torch.backends.cudnn.version()
    print(f"torch {torch.__version__}, CUDA {torch.version.cuda}, cuDNN {cudnn}, Python {sys.version.split()[0]}")
    print(f"{processor_name()}, commit {git_commit()}")


def table(folder: Path) -> bool:
    """Print parts and figures; return whether all parts succeeded."""
    parts = [line.split("\t") for line in (folder / "parts.tsv").read_text().splitlines()]
    print("\n| part | seconds | limit | exit |\n|---|---|---|---|")
    for part in parts:
        print(f"| {' | '.join(part)} |")
    for name, lines in (
        ("checks", checks),
        ("training", training),
        ("bench_train", bench),
        ("bench_eval", bench),
        ("bench_load", bench),
    ):
        for line in lines(read(folder / f"{name}.json")):
            print(f"{name}: {line}")
    return all(status == "0" for *_, status in parts)


def read(path: Path) -> dict[str, Any]:
    """Read the results of a part; return an empty dict if it wrote none."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return {}


def checks(found: dict[str, Any]) -> Iterator[str]:
    status = found.get("checks", {})
    if status:
        machine_text = f"{found['device']}, torch {found['torch']}, CUDA {found['cuda']}, commit {found['commit']}"
        yield f"{sum(one == 'passed' for one in status.values())} of {len(status)} passed on {machine_text}"
    for name, one in status.items():
        if one != "passed":
            yield f"{name}: {one[:200]}"


def training(found: dict[str, Any]) -> Iterator[str]:
    for precision in ("fp32", "bf16"):
        if precision not in found:
            continue
        run = found[precision]
        accuracy = ", ".join(
            f"{protocol} {name} {top1}" for protocol in ("knn", "linear") for name, top1 in run[protocol].items()
        )
        speed = f"{run['samples_per_second']:,.0f} samples/s, {run['steps']} steps in {run['seconds']:.0f} s"
        yield f"{precision} on {found['data']}: {speed}; top-1 %: {accuracy}"


def bench(found: dict[str, Any]) -> Iterator[str]:
    """Yield a line for each problem size."""
    for rows in found.get("parts", {}).values():
        for size, group in groupby(rows, key=lambda row: row["size"]):
            yield f"{size}: {'; '.join(map(bench_cell, group))}"


def bench_cell(row: dict[str, Any]) -> str:
    """Format one row of `skelepipe bench`."""
    if row["median"] is None:
        return f"{row['what']} does not fit"
    ratio = "" if row["ratio"] is None else f" x{row['ratio']:.2f}"
    return f"{row['what']} {row['median']:,.4g} {row['unit']}{ratio}"


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("what", choices=["machine", "table"])
    options.add_argument("folder", type=Path, nargs="?", default=Path("gpu"))
    given = options.parse_args()
    if given.what == "machine":
        machine()
        return 0
    return 0 if table(given.folder) else 1


if __name__ == "__main__":
    sys.exit(main())
