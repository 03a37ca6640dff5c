"""The README is a promise: every command in it runs, every file that it names is there, every command is in it."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cli import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    line
    for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
    if line.strip() and not line.startswith("#")
]
SHORTENED = {"pretrain": "--set epochs=1 batch_size=16"}
"""What a test adds to a command so that it takes seconds; everything else runs as it stands."""


def make(*arguments: str, environment: Path) -> subprocess.CompletedProcess[str]:
    """Run make in this tree with this Python's environment in place of the one that it would build."""
    (environment / "bin").mkdir(parents=True)
    for name in ("python", "skelepipe"):
        (environment / "bin" / name).write_text(
            f'#!/bin/sh\nexec {sys.executable} {"-m cli" if name == "skelepipe" else ""} "$@"\n'
        )
        (environment / "bin" / name).chmod(0o755)
    (environment / ".ready").touch()
    command = ["make", "-C", str(ROOT), f"VENV={environment}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_readme_has_exactly_two_set_up_commands() -> None:
    assert [command for command in COMMANDS if command.startswith("make ")] == ["make demo", "make test"]


@pytest.mark.slow
def test_make_demo_runs_the_whole_job(tmp_path: Path) -> None:
    small = "DEMO=--clips 96 --epochs 1"
    done = make("demo", f"DEMO_FOLDER={tmp_path / 'demo'}", small, environment=tmp_path / "env")
    assert done.returncode == 0, done.stderr
    for told in (
        "$ skelepipe synth",
        "$ skelepipe ingest ntu60 raw",
        "$ skelepipe build-splits",
        "$ skelepipe pretrain",
        "$ skelepipe eval",
    ):
        assert told in done.stderr
    assert "pre-trained" in done.stdout
    assert (tmp_path / "demo" / "runs" / "ntu60-xsub-quick" / "eval" / "linear.json").exists()


def test_make_test_is_what_ci_runs() -> None:
    assert "make test" in (ROOT / ".ci" / "run").read_text()
    planned = subprocess.run(
        ["make", "-C", ROOT, "-n", "test", "VENV=/x"], capture_output=True, text=True, check=True
    ).stdout
    for step in ("ruff format --check", "ruff check", "mypy", "-m pytest", "NUMBA_DISABLE_JIT=1"):
        assert step in planned


@pytest.mark.slow
def test_every_skelepipe_command_in_the_readme_runs(tmp_path: Path, raw: Path) -> None:
    shutil.copytree(raw, tmp_path / "raw")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ours = [command for command in COMMANDS if command.startswith("skelepipe ")]
    assert len(ours) >= 8
    for command in ours:
        words = shlex.split(command)
        words += SHORTENED.get(words[1], "").split()
        done = subprocess.run(
            [sys.executable, "-m", "cli", *words[1:]],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode in ((0, 3) if words[1] in {"ingest", "finalise"} else (0,)), f"{command}: {done.stderr}"


def test_every_other_command_in_the_readme_is_known_to_these_tests() -> None:
    known = ("make demo", "make test", "skelepipe ")
    assert [command for command in COMMANDS if not command.startswith(known)] == []


def test_every_command_is_in_the_readme() -> None:
    for name in main.commands:
        assert f"skelepipe {name}" in README, name


@pytest.mark.parametrize("path", sorted([ROOT / "README.md", *ROOT.glob("docs/*.md")]), ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (path.parent / target).exists(), f"{path.name} links to {target}"


def test_the_tree_in_the_readme_names_every_file() -> None:
    for folder in ("pipeline", "trainer"):
        for file in ROOT.glob(f"{folder}/*.py"):
            if file.name != "__init__.py":
                assert re.search(rf"\b{file.stem}(\.py)?\b", README), (
                    f"{folder}/{file.name} is not in the README's tree"
                )
