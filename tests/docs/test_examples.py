"""The worked examples of CONTRIBUTING.md, applied as the text says and run."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline.store.store import Store
from tests.docs.test_docs import commands_of, run_words
from tests.support.result_files import result_file

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"\]\(docs/examples/(\w+\.py)\)\s+into\s+`([\w/]+)/`", TEXT)
"""File names and the folders that they belong in."""
CHANGED = [
    "pipeline/sources/registry.py",
    "trainer/terminal/options.py",
    "pipeline/recipes/registry.py",
    "trainer/models/registry.py",
    "trainer/config/model.py",
    "trainer/methods/registry.py",
    "trainer/config/method.py",
]
"""Files that the diffs edit."""


def apply_diffs(tree: Path) -> list[str]:
    """Apply the diffs of the text to a copy of the repository; returns the files that they edit."""
    files: list[str] = []
    for block in re.findall(r"```diff\n(.*?)```", TEXT, re.DOTALL):
        anchor, keep_anchor = "", True
        for line in block.splitlines():
            if line.startswith("+++ "):
                files.append(line.removeprefix("+++ "))
                continue
            path, words = tree / files[-1], line[1:] + "\n"
            text = path.read_text(encoding="utf-8")
            if line[0] == "+":
                path.write_text(text.replace(anchor, anchor * keep_anchor + words), encoding="utf-8")
            else:
                assert text.count(words) == 1, f"{files[-1]} has no {words!r}"
                anchor, keep_anchor = words, line[0] == " "
    return files


def recording(seed: int, frames: int = 40) -> str:
    """A file of MSR Action3D: 20 swinging joints; the class is the speed."""
    rng = np.random.default_rng(seed)
    rest = rng.normal(0, 0.3, (20, 3)) + np.array([0, 0, 3])
    time = np.arange(frames)[:, None, None]
    xyz = rest + 0.2 * np.sin(time * (0.1 + 0.1 * (seed % 3)) + np.arange(20)[:, None])
    return "".join(f"{x:.6f} {y:.6f} {z:.6f} 0.9\n" for x, y, z in xyz.reshape(-1, 3))


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository with all four examples in it."""
    tree = tmp_path_factory.mktemp("examples") / "tree"
    for name in ("pipeline", "trainer"):
        shutil.copytree(ROOT / name, tree / name)
    shutil.copy(ROOT / "cli.py", tree)
    for name, folder in EXAMPLES:
        shutil.copy(ROOT / "docs" / "examples" / name, tree / folder)
    assert apply_diffs(tree) == CHANGED
    return tree


def test_every_example_file_is_used() -> None:
    files = {path.name for path in (ROOT / "docs" / "examples").glob("*.py")}
    assert {name for name, _ in EXAMPLES} == files - {"onnx_features.py"}  # of docs/other-code/onnx.md


def test_the_examples_pass_the_type_check(tree: Path) -> None:
    options = ["--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", str(ROOT / ".mypy_cache")]
    files = [f"{folder}/{name}" for name, folder in EXAMPLES]
    done = subprocess.run([sys.executable, "-m", "mypy", *options, *files], cwd=tree, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_the_examples_run_together(tree: Path, tmp_path: Path) -> None:
    """From recordings of a new data set, by a new step, a new encoder and a new method, to results."""
    (tmp_path / "raw").mkdir()
    for action in (1, 2, 3):
        for subject in range(1, 11):
            name = f"a{action:02d}_s{subject:02d}_e01_skeleton3D.txt"
            (tmp_path / "raw" / name).write_text(recording(30 * subject + action))
    (tmp_path / "raw" / "a21_s01_e01_skeleton3D.txt").write_text(recording(1))
    (tmp_path / "raw" / "a01_s01_e02_skeleton3D.txt").write_text(recording(1)[:-20])
    (tmp_path / "thin.toml").write_text(re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)[0])
    commands = [command.split()[1:] for command in commands_of(TEXT)]
    assert [command[0] for command in commands] == ["ingest", "build-splits", "pretrain", "eval"]
    commands[2] += ["epochs=2", "batch_size=8", "encoder.hidden_channels=4"]
    run_words(commands, tmp_path, tree)
    store = Store(tmp_path / "processed" / "msr3d.zarr")
    assert len(store.names) == 30
    assert store.attributes["layout"]["name"] == "kinect-v1-msr"
    assert {recording["name"] for recording in store.quarantine} == {"a21_s01_e01", "a01_s01_e02"}
    (run,) = (path for path in (tmp_path / "runs").iterdir() if path.is_dir())
    config = json.loads((run / "run.json").read_text())["config"]
    assert (config["method"]["name"], config["encoder"]["name"]) == ("nearest", "no-graph")
    assert json.loads(result_file(run, "linear.json").read_text())
