"""Import order, import cycles, library ownership, and unsafe calls."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.import_rules import USES, libraries, read_modules, violations

ROOT = Path(__file__).parents[2]
FILES = sorted([*ROOT.glob("pipeline/**/*.py"), *ROOT.glob("trainer/**/*.py"), ROOT / "cli.py", ROOT / "skelepipe.py"])

OWNERS = {
    "zarr": {"pipeline/store/store.py", "pipeline/store/writer.py"},
    "numcodecs": {"pipeline/store/shards.py"},
    "distributed": {"pipeline/ingest/dask_cluster.py"},
    "dask": set(),
    "filelock": {"pipeline/files/locks.py"},
    "jinja2": {"pipeline/report/html.py"},
    "matplotlib": {
        "pipeline/report/charts.py",
        "pipeline/report/confusion_matrix.py",
        "pipeline/report/images.py",
        "pipeline/report/scatter_plot.py",
        "pipeline/report/svg.py",
        "trainer/report/prediction_plot.py",
    },
    "sklearn": {"trainer/report/feature_map.py"},
    "scipy": {"pipeline/convert/readers/kinect_v1.py"},  # an extra, for .mat files
    "safetensors": {"trainer/runs/safetensors_file.py"},
    "onnxruntime": {"trainer/inference/onnx_export.py"},
    "pickle": {"pipeline/export/pyskl.py", "pipeline/export/stgcn.py"},  # they write pickles for other code bases
}
"""The only files that may import a library."""


def test_imports_follow_the_order_without_cycles() -> None:
    assert violations(read_modules(ROOT)) == []


def test_every_folder_is_in_the_import_order() -> None:
    folders = {".".join(path.relative_to(ROOT).with_suffix("").parts[:2]) for path in FILES if path.parent != ROOT}
    assert folders - {"pipeline.__init__", "trainer.__init__"} == set(USES)


PLANTED = {
    "a lower folder imports a higher one": (
        {"pipeline.store.a": "from pipeline.ingest.ingest import ingest"},
        "may not use",
    ),
    "inside a function": ({"pipeline.files.a": "def f():\n    from pipeline.store import store"}, "may not use"),
    "for type checking only": (
        {"trainer.models.a": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import trainer.methods.method"},
        "may not use",
    ),
    "siblings": ({"pipeline.ingest.a": "import pipeline.export.npz"}, "may not use"),
    "pipeline imports trainer": ({"pipeline.store.a": "import trainer.runtime.device"}, "not allowed there"),
    "pipeline imports torch": ({"pipeline.store.a": "def f():\n    import torch.nn"}, "not allowed there"),
    "pipeline imports rich": ({"pipeline.report.a": "from rich.table import Table"}, "not allowed there"),
    "config imports torch": ({"trainer.config.a": "from torch import Tensor"}, "not allowed there"),
    "trainer imports cli": ({"trainer.terminal.a": "import cli"}, "not allowed there"),
    "a cycle inside a folder": (
        {"trainer.data.a": "from trainer.data import b", "trainer.data.b": "from trainer.data.a import x"},
        "import cycle",
    ),
    "a cycle hidden in a function": (
        {"trainer.data.a": "from trainer.data import b", "trainer.data.b": "def f():\n    import trainer.data.a"},
        "import cycle",
    ),
    "a cycle hidden from the interpreter": (
        {
            "trainer.data.a": "from trainer.data import b",
            "trainer.data.b": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from trainer.data.a import x",
        },
        "import cycle",
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_violation_is_found(name: str) -> None:
    planted, message = PLANTED[name]
    found = violations(read_modules(ROOT) | planted)
    assert len(found) == 1
    assert message in found[0]
    assert any(module in found[0] for module in planted)


@pytest.mark.parametrize("library", OWNERS)
def test_each_library_has_its_owners(library: str) -> None:
    users = {path.relative_to(ROOT).as_posix() for path in FILES if library in libraries(path)}
    assert users == OWNERS[library]


def test_only_the_terminal_and_the_python_interface_print() -> None:
    for path in FILES:
        if path.name != "cli.py" and not {"terminal", "api"} & {*path.parts}:
            assert not libraries(path) & {"rich", "click"}, path


def test_kernels_import_numba_and_numpy_only_and_nobody_else_imports_numba() -> None:
    for path in FILES:
        if path.stem.endswith("_kernels"):
            assert libraries(path) <= {"numba", "numpy", "math", "collections", "typing"}, path
        else:
            assert "numba" not in libraries(path), path


def test_packages_hold_no_code() -> None:
    for path in FILES:
        if path.name == "__init__.py":
            body = ast.parse(path.read_text(encoding="utf-8")).body
            assert len(body) == 1, path
            assert isinstance(body[0], ast.Expr), path


def test_no_file_is_called_utils() -> None:
    assert not [path for path in FILES if path.stem in {"utils", "common", "helpers", "base", "misc"}]


UNSAFE = """
import pickle; pickle.loads(text)
import pickle as p; p.load(handle)
from pickle import Unpickler
import dill
import cloudpickle
import joblib
import shelve
import marshal; marshal.loads(text)
import yaml; yaml.load(text)
import torch; torch.load(path)
import torch; torch.load(path, weights_only=False)
import torch as t; t.load(path)
from torch import load
from torch.serialization import load
import torch; torch.jit.load(path)
import torch; torch.hub.load(repository, model)
import numpy as np; np.load(path)
import numpy; numpy.load(path, allow_pickle=True)
from numpy import load
import runpy
eval(text)
exec(text)
import importlib; importlib.import_module(text)
import os; os.system(text)
import os; os.popen(text)
import subprocess; subprocess.run(text, shell=True)
import subprocess; subprocess.getoutput(text)
import shutil; shutil.unpack_archive(path, folder)
import pandas; pandas.read_pickle(path)
"""


@pytest.fixture(scope="module")
def ruff_findings(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What ruff reports with the project's settings for one file of each unsafe snippet."""
    folder = tmp_path_factory.mktemp("unsafe") / "pipeline"
    folder.mkdir()
    for number, snippet in enumerate(UNSAFE.strip().splitlines()):
        (folder / f"snippet{number}.py").write_text(f"def f(text, path, handle, folder):\n    {snippet}\n")
    options = ["--select", "S,TID251", "--output-format", "concise", "--no-cache", "--config", ROOT / "pyproject.toml"]
    command = [sys.executable, "-m", "ruff", "check", *options, folder]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


@pytest.mark.parametrize(("number", "snippet"), [*enumerate(UNSAFE.strip().splitlines())])
def test_ruff_reports_unsafe_code(ruff_findings: str, number: int, snippet: str) -> None:
    assert f"snippet{number}.py" in ruff_findings, snippet
