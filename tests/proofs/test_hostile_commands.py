"""Run commands on hostile input, each in its own process: one clear line, a bounded time, bounded memory, no damage."""

import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.proofs import hostile_inputs, hostile_runs
from tests.proofs.hostile_cases import CASES, CLI, SECONDS, TINY, Case
from tests.support.run_commands import run_all

pytestmark = pytest.mark.thorough
MAX_RSS_MB = 1500
MAX_LINE = 1200
MODULES = (hostile_inputs, hostile_runs)
"""The modules that register the cases."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make recordings, stores, a run and its evaluation once."""
    folder = tmp_path_factory.mktemp("world")
    commands = [
        "synth ntu60 raw --clips 36 --seed 3",
        "ingest ntu60 raw",
        "build-splits",
        TINY,
        "eval runs/tiny --set linear.epochs=5",
        "synth folder own --clips 24",
        "synth pku1 pku --clips 12",
        "export processed/ntu60.zarr --out clips.npz",
    ]
    before = Path.cwd()
    try:
        os.chdir(folder)
        assert run_all([command.split() for command in commands]) == ""
    finally:
        os.chdir(before)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Read every regular file below a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink() and path.name != "LATEST.json"
    }


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_hostile_command(case: Case, world: Path, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    shutil.copytree(world, folder, symlinks=True)
    words = case.prepare(folder)
    words = words.split() if isinstance(words, str) else words
    before = contents(folder)
    quoted = " ".join("'" + word.replace("'", "'\\''") + "'" for word in [sys.executable, str(CLI), *words])
    started = f"{case.shell or ':'}; exec {quoted} {case.redirect}"
    output = tmp_path / "output.txt"
    with output.open("wb") as stream:
        process = subprocess.Popen(
            ["bash", "-c", started],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    timer = threading.Timer(SECONDS, lambda: os.killpg(process.pid, signal.SIGKILL))
    timer.start()
    if case.meanwhile:
        threading.Thread(target=case.meanwhile, args=(folder,), daemon=True).start()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = code = os.waitstatus_to_exitcode(status)
    text = output.read_text(errors="replace")
    finished = timer.is_alive()
    timer.cancel()
    shown = text[-3000:]
    assert finished, f"ran longer than {SECONDS} s: {shown}"
    assert "Traceback" not in text, shown
    assert code in case.codes, f"exit code {code}: {shown}"
    assert re.search(case.mentions, text, re.IGNORECASE | re.DOTALL), shown
    assert not [line for line in text.splitlines() if len(line) > MAX_LINE], shown
    assert not re.search("[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f]", text), repr(shown)
    assert usage.ru_maxrss < MAX_RSS_MB * 1024, f"{usage.ru_maxrss // 1024} MB"
    if not case.changes:
        after = contents(folder)
        assert {name for name in before if after.get(name) != before[name]} == set()


def test_the_limits_of_this_process_are_normal() -> None:
    assert resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY
