"""The benchmarks run; their figures are for people and other machines. The long ones: `make rehearse`."""

import importlib.metadata
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from benchmarks.speed import normalise
from pipeline.synth.synth import write

ROOT = Path(__file__).parents[3]


def benchmark(name: str, *args: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", f"benchmarks.{name}", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=os.environ, cwd=ROOT)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_the_gpu_check_without_a_gpu_says_so_and_exits_2(tmp_path: Path) -> None:
    done = benchmark("gpu.check_gpu", "--out", tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("no GPU to check: --device cuda: ")


@pytest.mark.rehearsal
def test_the_gpu_script_rehearses_all_of_its_parts_on_a_cpu(tmp_path: Path) -> None:
    asked = {"SMALL": "1", "DEVICE": "cpu", "OUT": str(tmp_path / "out"), "PYTHON": sys.executable}
    command = ["bash", str(ROOT / "benchmarks" / "gpu.sh")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, env=os.environ | asked)
    *_, table = done.stdout.partition("| part | seconds | limit | exit |\n")
    parts = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| ")]
    assert [name for name, *_ in parts] == [
        *("machine", "checks", "bench train", "bench eval", "bench load", "training")
    ], done.stdout + done.stderr  # fmt: skip
    assert {status for *_, status in parts} == {"0"}, done.stdout
    limits = re.findall(r"^ +(?:part|bench) [a-z]+ (\d+)", Path(command[1]).read_text(), re.MULTILINE)
    assert {limit for _, _, limit, _ in parts} < set(limits)  # that of the wheels besides, which are not missing here
    assert sum(map(int, limits)) == 540
    figures = [line for line in table.splitlines() if not line.startswith("|")]
    assert re.match(r"checks: (\d+) of \1 passed on CPU", figures[0])
    found = json.loads((tmp_path / "out" / "checks.json").read_text())
    assert set(found["checks"].values()) == {"passed"}
    assert {
        "golden step, float64, gradients match the reference",
        "a stopped training ends as if never stopped",
    } <= set(found["checks"])
    assert found["figures"]["resume, largest difference from never stopped"] == 0
    assert found["torch"] == torch.__version__
    for precision in ("bf16", "fp32"):
        assert sum(line.startswith(f"training: {precision} on synthetic NTU-60: ") for line in figures) == 1
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert len(written) <= 8
    assert (tmp_path / "out" / "log.txt").read_text() == done.stdout


def test_the_wheels_for_a_gpu_machine_are_all_that_it_lacks() -> None:
    there = {"torch", "numpy", "numba", "h5py", "click"} | {"jinja2", "markupsafe"}  # torch's own needs
    needed, open_ends = set(there), ["skelepipe"]
    while open_ends:
        for line in importlib.metadata.requires(open_ends.pop()) or []:
            asked = Requirement(line)
            name = canonicalize_name(asked.name)
            if name in {"matplotlib", "pillow"}:  # no GPU check draws anything
                continue
            if name not in needed and (asked.marker is None or asked.marker.evaluate({"extra": ""})):
                needed.add(name)
                open_ends.append(name)
    planned = subprocess.run(["make", "-C", ROOT, "-n", "wheels"], capture_output=True, text=True, check=True).stdout
    taken = planned.partition("--dest wheels ")[2].splitlines()[0].split()
    assert set(taken) == needed - there


@pytest.mark.rehearsal
def test_the_size_benchmark_ingests_all_that_it_wrote(tmp_path: Path) -> None:
    done = benchmark("speed.full_size", tmp_path, "--share", "0.0005", "--texts", "6")
    assert done.returncode == 0, done.stderr
    assert "57 recordings" in done.stdout
    rows = [line.split(" | ")[0] for line in done.stdout.splitlines() if ":" in line and line.startswith("| ")]
    assert rows == [f"| {kind}: {what}" for kind in ("loose", "zips") for what in ("ingest", "again", "verify")]


def test_the_normalising_benchmark_checks_the_peers_and_prints_its_table() -> None:
    done = benchmark("speed.normalise", "--clips", 1, "--rounds", 1, "--frames", 30)
    assert done.returncode == 0, done.stderr
    rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if line.startswith("| ")][1:]
    assert [row[1] for row in rows] == ["1"] * 3 + ["2"] * 3
    assert all(float(row[2].removesuffix(" m")) < 1e-5 and float(row[5]) > 1 for row in rows)


@pytest.mark.parametrize("name", ["agcn", "ctrgcn", "skelemixclr"])
def test_its_re_creations_of_the_peers_agree_with_the_recipes_and_a_difference_shows(name: str) -> None:
    case = next(case for case in normalise.cases(2, 40, 2) if case.recipe.name == name)
    assert normalise.disagreement(case) < 1e-6
    for clip in case.clips:  # somebody comes late, somebody leaves, nobody is there for a moment
        clip.xyz[1, :5] = clip.xyz[0, 30:] = clip.xyz[:, 20:22] = 0
    assert normalise.disagreement(case) < 1e-6
    other = replace(case, peer=lambda clip: case.peer(replace(clip, xyz=clip.xyz * 1.001)))
    assert normalise.disagreement(other) > 1e-4


def ten_people(folder: Path) -> Path:
    """A folder as UI-PRMD's: 10 subjects, 2 movements, 2 repetitions, 22 joints that wander."""
    rng = np.random.default_rng(0)
    (folder / "clips").mkdir(parents=True)
    lines = ["file,label,subject,replication,correct,frames"]
    for subject, label, replication in product(range(1, 11), range(2), range(1, 3)):
        name = f"clips/m{label + 1:02}_s{subject:02}_e{replication:02}.npy"
        pose = rng.uniform((-0.3, -0.9, 2.8), (0.3, 0.8, 3.2), (22, 3))
        np.save(folder / name, (pose + 0.01 * rng.normal(size=(40, 22, 3)).cumsum(axis=0)).astype(np.float32))
        lines.append(f"{name},{label},{subject},{replication},1,40")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.mark.rehearsal
def test_the_learning_benchmark_prints_its_table_and_skips_what_is_done(tmp_path: Path) -> None:
    data = ten_people(tmp_path / "data")
    command = ("accuracy.denoising_and_learning", data, "--out", tmp_path / "out", "--every", 1, "--small")
    done = benchmark(*command)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.split(" | ") for line in done.stdout.splitlines() if line.startswith("| ")]
    assert [row[0] for row in rows] == ["| recipe", "| clean, nothing damaged", "| clean", "| none"]
    assert [row[1] for row in rows[1:]] == ["24 + 16"] * 3
    assert "clean, seed 0: {" in done.stdout
    again = benchmark(*command)
    assert "seed 0: {" not in again.stdout
    assert [line.split(" | ") for line in again.stdout.splitlines() if line.startswith("| ")] == rows
    other = benchmark(*command, "--epochs", 3)
    assert other.returncode == 1
    assert "name another --out" in other.stderr


@pytest.mark.rehearsal
def test_the_benchmark_on_real_people_fills_its_table_and_goes_on(tmp_path: Path) -> None:
    write("folder", tmp_path / "data", clips=24, seed=0)
    tiny = ["frames=16", "epochs=1", "batch_size=4", "encoder.hidden_channels=2", "encoder.hidden_dim=8"]
    tiny += ["method.mix.frames=[1,3]"]
    short = [f"{protocol}.epochs=1" for protocol in ("linear", "semi", "finetune")]
    command = ("accuracy.ui_prmd", tmp_path / "data", tmp_path / "out", "--seeds", 2, "--methods", "skeletonclr")
    done = benchmark(*command, "--set", *tiny, "--eval-set", *short)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines()[2:]]
    assert [row[0] for row in rows] == [
        *["skeletonclr"] * 4, *["random encoder"] * 4, *["supervised from scratch"] * 4, *["raw coordinates, 1-NN"] * 3,
    ]  # fmt: skip
    assert all(re.fullmatch(r"\d+\.\d ± \d+\.\d", cell) for row in rows[:4] for cell in row[2:])
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.json")}
    (tmp_path / "out" / "table.md").unlink()
    again = benchmark(*command, "--set", *tiny, "--eval-set", *short)
    assert again.stdout == done.stdout == (tmp_path / "out" / "table.md").read_text()
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.json") if "eval" in path.parts} == {
        path: when for path, when in written.items() if "eval" in path.parts
    }
