"""The benchmarks run; their figures are for people and other machines."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]


def benchmark(name: str, *args: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "benchmarks" / name), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=os.environ)


def test_the_gpu_check_walks_its_whole_path_on_a_cpu(tmp_path: Path) -> None:
    done = benchmark("check_gpu.py", "--out", tmp_path / "out", "--device", "cpu", "--small")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "out" / "gpu.json").read_text())
    assert set(found["checks"].values()) == {"passed"}
    assert {"golden step, float64, gradients are the references", "a stopped training ends as if never stopped"} <= set(
        found["checks"]
    )
    assert found["figures"]["resume, largest difference from never stopped"] == 0
    assert found["figures"]["step, samples/s, median"] > 0
    assert found["torch"] == torch.__version__


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_the_gpu_check_without_a_gpu_says_so_and_exits_2(tmp_path: Path) -> None:
    done = benchmark("check_gpu.py", "--out", tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("no GPU to check: --device cuda: ")


def test_the_training_benchmark_prints_its_table() -> None:
    done = benchmark("bench_train.py", "--steps", "1", "--warmup", "0", "--only", "quick")
    assert done.returncode == 0, done.stderr
    assert "torch" in done.stdout
    assert float(done.stdout.splitlines()[-1].split()[6]) > 0
