"""`doctor`: what it finds on this machine, and what it makes of machines that are otherwise."""

import importlib.metadata
import json
import os
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from packaging.requirements import Requirement

from cli import main
from pipeline.errors import OutputFailed
from trainer.doctor import disks, findings, packages, processor, terminal
from trainer.doctor.findings import Finding, in_subprocess
from trainer.doctor.torch_probe import Gpu, Torch, judge

ROOT = Path(__file__).parents[3]
CPU = Torch(
    version="2", cuda=None, rocm=None, driver="", hidden=None, why="", gpus=(), threads=2, capability="AVX2", fault=""
)  # fmt: skip
H100 = Gpu(name="NVIDIA H100", free=70 * 10**9, total=80 * 10**9, bf16=True, fault="")


def test_here_all_works_and_everything_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "60")
    done = CliRunner().invoke(main, ["doctor"])
    assert done.exit_code == 0, done.output
    for topic in ("python", "packages", "processor", "threads", "memory", "disk", "kernels", "store", "torch", "gpu"):
        assert f"\n{topic} " in f"\n{done.stdout}", topic
    assert "files are locked" in " ".join(done.stdout.split())
    assert max(map(len, done.stdout.splitlines())) <= 60
    assert done.stdout.splitlines()[-1].startswith("all works")
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_dies_or_cannot_begin_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dies.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGILL)\n")
    (tmp_path / "breaks.py").write_text("import nothing_of_that_name\n")
    (tmp_path / "hangs.py").write_text("import time\ntime.sleep(60)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    died, broken, stuck = in_subprocess("dies"), in_subprocess("breaks"), in_subprocess("hangs", 0.5)
    assert [finding.state for finding in (*died, *broken, *stuck)] == ["problem"] * 3
    assert "SIGILL: a package is built for another processor" in died[0].text
    assert "No module named 'nothing_of_that_name'" in broken[0].text
    assert "no answer" in stuck[0].text


def test_a_problem_is_exit_code_1_and_json_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [Finding("torch", "ok", "well"), Finding("disk", "problem", "full", "make room")]
    monkeypatch.setattr(findings, "examine", lambda modules: found)
    done = CliRunner().invoke(main, ["doctor", "--json"])
    plain = json.loads(done.stdout)
    assert (done.exit_code, plain["state"]) == (1, "problem")
    assert plain["findings"][1] == {"topic": "disk", "state": "problem", "text": "full", "todo": "make room"}
    shown = CliRunner().invoke(main, ["doctor"])
    assert shown.exit_code == 1
    assert "-> make room" in shown.stdout
    assert "1 problem" in shown.stdout.splitlines()[-1]


def test_a_foreign_module_and_zfpy_are_found(tmp_path: Path) -> None:
    (tmp_path / "trainer").mkdir()
    (tmp_path / "trainer" / "__init__.py").touch()
    (tmp_path / "zfpy.py").touch()
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from trainer.doctor import packages; print(*packages.conflicts())"
    )
    own = {"PYTHONPATH": f"{ROOT}{os.pathsep}/nowhere", "NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], env=os.environ | own, capture_output=True, text=True, cwd=ROOT
    )
    assert "zfpy is there" in done.stdout, done.stderr
    assert f"`import trainer` finds {(tmp_path / 'trainer').resolve()}" in done.stdout
    assert "`import cli`" not in done.stdout
    assert "/nowhere is not there" in done.stdout
    assert "NUMBA_DISABLE_JIT is set" in done.stdout


def test_versions_are_held_against_what_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert packages.unmet(Requirement("click>=8.2")) == ""
    assert packages.unmet(Requirement("click>=99")).endswith("is there, >=99 is wanted")
    assert packages.unmet(Requirement("no-such-package")) == "no-such-package is not there"
    wants = {"numba": ["numpy<1.0", "llvmlite>0"], "skelepipe": ["click>99", "numpy>=1", "dask; extra == 'cluster'"]}
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: wants.get(name, []))
    (found,) = packages.demands(("numba", "numpy"))
    assert (found.state, found.todo) == ("problem", "pip install 'numpy<1.0'")
    assert found.text.startswith("numba wants numpy<1.0: numpy ")
    assert [finding.state for finding in packages.wanted("skelepipe")] == ["problem", "ok", "ok"]


@pytest.mark.parametrize(
    ("found", "state", "says"),
    [
        (CPU, "ok", "preset quick"),
        (replace(CPU, driver="550.54"), "note", "this torch is built for CPUs"),
        (replace(CPU, cuda="12.8"), "note", "no NVIDIA driver"),
        (replace(CPU, cuda="12.8", driver="550.54", hidden=""), "note", "hides all"),
        (replace(CPU, cuda="12.8", driver="450.1", why="driver is too old"), "problem", "driver is too old"),
        (replace(CPU, cuda="12.8", driver="550.54", gpus=(H100,)), "ok", "70.0 of 80.0 GB free"),
        (replace(CPU, cuda="12.8", driver="550.54", gpus=(replace(H100, free=10**9),)), "note", "little"),
        (replace(CPU, cuda="12.8", driver="1", gpus=(replace(H100, fault="no kernel image"),)), "problem", "no kernel"),
    ],
)
def test_why_there_is_a_gpu_or_none(found: Torch, state: str, says: str) -> None:
    first, gpu = judge(found)
    assert (first.topic, first.state, gpu.topic, gpu.state) == ("torch", "ok", "gpu", state)
    assert says in gpu.text
    assert bool(gpu.todo) == (state != "ok")


def test_torch_that_does_not_get_on_with_numpy_is_a_problem() -> None:
    assert next(judge(replace(CPU, fault="Numpy is not available"))).state == "problem"


MOUNTS = """/dev/sda1 / ext4 rw 0 0
server:/home /home nfs4 rw 0 0
/dev/sdb1 /home/me/my\\040disk xfs rw 0 0
tmpfs /tmp tmpfs rw 0 0
"""


def test_the_kind_of_a_file_system_is_that_of_the_nearest_mount() -> None:
    for folder, kind in {"/x": "ext4", "/home/you": "nfs4", "/home/me/my disk/x": "xfs", "/homes": "ext4"}.items():
        assert disks.kind_of(Path(folder), MOUNTS) == kind
    assert disks.kind_of(Path("/x"), "") == "unknown file system"


def test_a_folder_on_the_network_full_or_refusing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert disks.place(tmp_path, tmp_path).state in {"ok", "note"}
    monkeypatch.setattr(disks, "kind_of", lambda folder: "nfs4")
    monkeypatch.setattr(disks, "LOW_SPACE_BYTES", 0)
    network = disks.place(tmp_path, tmp_path)
    assert (network.state, "on the network" in network.text) == ("note", True)
    monkeypatch.setattr(disks, "NO_SPACE_BYTES", 1e18)
    assert disks.place(tmp_path, tmp_path).state == "problem"

    def refuse(*_: object, **__: object) -> None:
        raise OutputFailed("x: cannot be written: Read-only file system; nothing was published there")

    monkeypatch.setattr(disks.atomic, "write_file", refuse)
    refused = disks.place(tmp_path, tmp_path)
    assert (refused.state, "Read-only file system" in refused.text) == ("problem", True)
    assert list(tmp_path.iterdir()) == []


def test_locks_that_do_not_hold_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disks, "sole_writer", lambda path: nullcontext())
    assert disks.trial(tmp_path).startswith("locks do not hold")


def test_quotas_and_limits_of_either_control_groups_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in {
        "v2/job/cpu.max": "150000 100000",
        "v2/cpu.max": "max 100000",
        "v2/job/memory.max": "2000000000",
        "cpu/job/cpu.cfs_quota_us": "50000",
        "cpu/job/cpu.cfs_period_us": "100000",
        "memory/job/memory.limit_in_bytes": "1000000000",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{text}\n")
    own = tmp_path / "own"
    monkeypatch.setattr(processor, "GROUPS", tmp_path)
    monkeypatch.setattr(processor, "OWN_GROUP", own)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2}, raising=False)
    own.write_text("0::/v2/job\n")
    assert processor.usable() == (3, 1.5)
    (finding,) = [finding for finding in processor.memory() if finding.topic == "memory"]
    assert (finding.state, "allows 2.0 GB" in finding.text) == ("note", True)
    own.write_text("4:cpu:/job\n7:memory:/job\n")
    assert processor.usable() == (3, 0.5)
    assert "allows 1.0 GB" in next(processor.memory()).text
    assert [finding.state for finding in processor.cores()] == ["ok", "note"]


def test_threads_beyond_the_cores_and_nonsense_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "usable", lambda: (2, None))
    for given, state in (("2", "ok"), ("64", "note"), ("many", "problem"), ("0", "problem")):
        monkeypatch.setenv("OMP_NUM_THREADS", given)
        assert {finding.state for finding in processor.threads() if "OMP" in finding.text} == {state}, given


def test_a_terminal_that_cannot_show_all_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Out:
        encoding = "ascii"

        def isatty(self) -> bool:
            return False

    monkeypatch.setattr(sys, "stdout", Out())
    (finding,) = terminal.examine()
    assert (finding.state, finding.todo) == ("note", "PYTHONUTF8=1, or LANG=C.UTF-8")
