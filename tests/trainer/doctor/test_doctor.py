"""`skelepipe doctor`: its findings on this machine, and its judgement of other machines."""

import importlib.metadata
import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from packaging.requirements import Requirement

from cli import main
from trainer.doctor import disks, findings, packages, processor
from trainer.doctor.findings import Finding, run_probe
from trainer.doctor.torch_probe import Gpu, TorchState, judge

CPU = TorchState(
    version="2", cuda=None, rocm=None, driver="", visible_devices=None, cuda_error="", gpus=(), threads=2, fault=""
)
H100 = Gpu(name="NVIDIA H100", free=70 * 10**9, total=80 * 10**9, bf16=True, fault="")


@pytest.mark.slow
def test_everything_works_on_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "60")
    done = CliRunner().invoke(main, ["doctor"])
    assert done.exit_code == 0, done.output
    for topic in ("python", "packages", "processor", "threads", "disk", "kernels", "store", "torch", "gpu"):
        assert f"\n{topic} " in f"\n{done.stdout}", topic
    assert all(f"{folder}/: " in done.stdout for folder in ("raw", "processed", "runs"))
    assert max(map(len, done.stdout.splitlines())) <= 60
    assert done.stdout.splitlines()[-1].startswith("everything works")
    assert list(tmp_path.iterdir()) == []


def test_a_probe_that_crashes_or_hangs_becomes_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dies.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGILL)\n")
    (tmp_path / "breaks.py").write_text("import nothing_of_that_name\n")
    (tmp_path / "hangs.py").write_text("import time\ntime.sleep(60)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    died, broken, stuck = run_probe("dies"), run_probe("breaks"), run_probe("hangs", 0.5)
    assert [finding.state for finding in (*died, *broken, *stuck)] == ["problem"] * 3
    assert "SIGILL: a package was built for another processor" in died[0].text
    assert "No module named 'nothing_of_that_name'" in broken[0].text
    assert "did not finish" in stuck[0].text


def test_a_problem_gives_exit_code_1_and_json_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [Finding("torch", "ok", "fine"), Finding("disk", "problem", "full", "free some space")]
    monkeypatch.setattr(findings, "run_probes", lambda modules: found)
    done = CliRunner().invoke(main, ["doctor", "--json"])
    plain = json.loads(done.stdout)
    assert (done.exit_code, plain["state"]) == (1, "problem")
    assert plain["findings"][1] == {"topic": "disk", "state": "problem", "text": "full", "todo": "free some space"}
    shown = CliRunner().invoke(main, ["doctor"])
    assert shown.exit_code == 1
    assert "-> free some space" in shown.stdout
    assert "1 problem" in shown.stdout.splitlines()[-1]


def test_installed_versions_are_compared_with_the_required_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    assert packages.find_fault(Requirement("click>=8.2")) == ""
    assert packages.find_fault(Requirement("click>=99")).endswith("is installed, >=99 is required")
    assert packages.find_fault(Requirement("no-such-package")) == "no-such-package is not installed"
    lines = ["click>99", "numpy>=1", "dask; extra == 'cluster'"]
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: lines)
    found = list(packages.check_packages("skelepipe"))
    assert [finding.state for finding in found] == ["problem", "ok", "ok"]
    assert found[0].todo == "pip install 'click>99'"


@pytest.mark.parametrize(
    ("state", "expected", "text"),
    [
        (CPU, "ok", "preset quick"),
        (replace(CPU, driver="550.54"), "note", "this torch was built for CPUs"),
        (replace(CPU, cuda="12.8"), "note", "no NVIDIA driver"),
        (replace(CPU, cuda="12.8", driver="550.54", visible_devices=""), "note", "hides all"),
        (replace(CPU, cuda="12.8", driver="450.1", cuda_error="driver is too old"), "problem", "driver is too old"),
        (replace(CPU, cuda="12.8", driver="550.54", gpus=(H100,)), "ok", "70.0 of 80.0 GB free"),
        (replace(CPU, cuda="12.8", driver="550.54", gpus=(replace(H100, free=10**9),)), "note", "little memory"),
        (replace(CPU, cuda="12.8", driver="1", gpus=(replace(H100, fault="no kernel image"),)), "problem", "no kernel"),
    ],
)
def test_the_reason_for_a_missing_gpu_is_found(state: TorchState, expected: str, text: str) -> None:
    first, gpu = judge(state)
    assert (first.topic, first.state, gpu.topic, gpu.state) == ("torch", "ok", "gpu", expected)
    assert text in gpu.text
    assert bool(gpu.todo) == (expected != "ok")


def test_a_torch_that_does_not_work_with_numpy_is_a_problem() -> None:
    assert next(judge(replace(CPU, fault="Numpy is not available"))).state == "problem"


def test_a_full_disk_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disks, "LOW_SPACE_BYTES", 0)
    monkeypatch.setattr(disks, "NO_SPACE_BYTES", 0)
    assert disks.check_folder(Path("processed")).state == "ok"
    monkeypatch.setattr(disks, "LOW_SPACE_BYTES", 1e18)
    assert disks.check_folder(Path("processed")).state == "note"
    monkeypatch.setattr(disks, "NO_SPACE_BYTES", 1e18)
    assert disks.check_folder(Path("processed")).state == "problem"


def test_impossible_thread_counts_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    for value, state in (("2", "ok"), ("64", "note"), ("many", "problem"), ("0", "problem")):
        monkeypatch.setenv("OMP_NUM_THREADS", value)
        assert {finding.state for finding in processor.check_threads(2) if "OMP" in finding.text} == {state}, value
