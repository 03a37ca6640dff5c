"""The arrows of the design, read off the imports: cli -> trainer -> pipeline, heavy libraries each in its own room."""

import ast
from pathlib import Path

import pytest

from tests.house import unsafe_code

ROOT = Path(__file__).parents[2]
FILES = sorted([*ROOT.glob("pipeline/**/*.py"), *ROOT.glob("trainer/**/*.py"), ROOT / "cli.py"])

OWNERS = {
    "zarr": {"pipeline/store/store.py", "pipeline/store/writer.py"},
    "numcodecs": {"pipeline/store/shards.py"},
    "numba": {path.relative_to(ROOT).as_posix() for path in FILES if path.stem.endswith("_kernels")},
    "rich": {
        "trainer/terminal/pipeline_output.py",
        "trainer/terminal/pipeline_output.py",
        "trainer/terminal/doctor_output.py",
        "trainer/terminal/bench_output.py",
        "trainer/terminal/training_output.py",
        "trainer/terminal/evaluation_output.py",
        "cli.py",
    },
    "click": {"cli.py", "trainer/terminal/commands.py", "trainer/terminal/completion.py"},
    "distributed": {"pipeline/ingest/dask_cluster.py"},
    "dask": set(),
    "packaging": {"trainer/doctor/packages.py"},
    "filelock": {"pipeline/files/atomic.py"},
    "jinja2": {"pipeline/report/html.py"},
    "matplotlib": {"pipeline/report/charts.py", "pipeline/report/images.py", "pipeline/report/svg.py"},
    "sklearn": {"trainer/report/feature_map.py"},
    "scipy": {"pipeline/convert/readers/kinect_v1.py"},  # an extra, for .mat files
    "safetensors": {"trainer/runs/safetensors_file.py"},
    "onnx": {"trainer/inference/onnx_metadata.py", "trainer/inference/onnx_graph.py"},
    "onnxruntime": {"trainer/inference/onnx_export.py"},
    "pickle": {"pipeline/export/pyskl.py", "pipeline/export/stgcn.py"},  # which write it
}
"""Who alone may import a library, wherever in the file the import stands."""


def imports(path: Path) -> set[str]:
    """Top-level names that a file imports anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


def calls(path: Path, name: str) -> bool:
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return any(isinstance(node, ast.Call) and ast.unparse(node.func) == name for node in nodes)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_arrows_go_one_way_and_libraries_stay_in_their_rooms(path: Path) -> None:
    name, found = path.relative_to(ROOT).as_posix(), imports(path)
    if name.startswith("pipeline/"):
        assert not found & {"torch", "trainer", "cli"}
    if name.startswith("trainer/"):
        assert "cli" not in found
    for library, owners in OWNERS.items():
        assert library not in found or name in owners, f"{name} imports {library}; only {sorted(owners)} may"


def test_the_rules_bite() -> None:
    """Each owner does import its library, so that no rule above is about nothing."""
    for library, owners in OWNERS.items():
        for owner in owners:
            assert library in imports(ROOT / owner), f"{owner} does not import {library}"


def test_kernels_import_numba_and_numpy_and_each_other_only() -> None:
    for path in [path for path in FILES if path.stem.endswith("_kernels")]:
        assert imports(path) <= {"numba", "numpy", "math", "collections", "typing"}, path


def test_only_the_command_line_and_the_progress_bar_print() -> None:
    for path in FILES:
        if path.name not in {"cli.py", "display.py"}:
            assert not calls(path, "print"), path


PLACES = {
    "pipeline/export/pyskl.py": frozenset({"pickle.Pickler"}),
    "pipeline/export/stgcn.py": frozenset({"pickle.dumps"}),
    "trainer/runs/imported/torch_file.py": frozenset({"torch.load"}),
    "benchmarks/bench_choices.py": frozenset({"builtins.exec"}),  # of the parser's own source, with a line cut out
}
"""The only files that may do something of the kind, and what: two write pickles, one reads weights alone."""
SCANNED = sorted([*ROOT.glob("pipeline/**/*.py"), *ROOT.glob("trainer/**/*.py"), *ROOT.glob("benchmarks/**/*.py")])


@pytest.mark.parametrize("path", [*SCANNED, ROOT / "cli.py"], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_nothing_out_of_a_file_is_unpickled_or_run(path: Path) -> None:
    allowed = PLACES.get(path.relative_to(ROOT).as_posix(), frozenset())
    assert unsafe_code.findings(path.read_text(encoding="utf-8"), allowed) == []


def test_what_few_files_may_do_is_what_they_do() -> None:
    for name, allowed in PLACES.items():
        found = unsafe_code.findings((ROOT / name).read_text(encoding="utf-8"), frozenset())
        assert {finding.partition(": ")[2] for finding in found} >= allowed, name


BAD = """
import pickle
import pickle as p
import _pickle
import cPickle
import dill
import cloudpickle
import joblib
import shelve
import marshal
import yaml
import runpy
from pickle import loads
from pickle import Unpickler as U
from joblib import load
import distributed.protocol.pickle
import numpy as np; np.load(path)
import numpy as np; np.load(path, allow_pickle=True)
import numpy as np; np.load(path, None, True)
import numpy as np; np.load(path, allow_pickle=trusted)
import numpy as np; np.load(path, **options)
import numpy as np; read = np.load
import numpy; numpy.load(path)
import numpy as anything; anything.load(path)
from numpy import load; load(path)
from numpy import load as read; read(path)
from numpy.lib.format import read_array; read_array(handle, allow_pickle=True)
import numpy as np; np.lib.npyio.NpzFile(handle, allow_pickle=True)
import numpy as np; np.save(path, values, allow_pickle=True)
import torch; torch.load(path)
import torch; torch.load(path, weights_only=True)
import torch; torch.load(path, weights_only=False)
import torch as t; t.load(path)
from torch import load
from torch.serialization import load
import torch.serialization; torch.serialization.load(path)
import torch; torch.jit.load(path)
import torch; torch.hub.load(repository, model)
import torch; torch.package.PackageImporter(path)
import torch; torch.serialization.add_safe_globals([Anything])
import torch; torch.serialization.safe_globals([Anything])
eval(text)
exec(text)
compile(text, "x", "exec")
__import__(text)
import builtins; builtins.eval(text)
run = eval
import importlib; importlib.import_module(text)
from importlib import import_module; import_module(text)
import importlib.util; importlib.util.spec_from_file_location("x", path)
import os; os.system(text)
from os import system; system(text)
from os import popen
import os; os.popen(text)
import os; os.execv(path, [])
import os; os.spawnl(os.P_WAIT, path)
import subprocess; subprocess.run(text, shell=True)
import subprocess; subprocess.Popen(text, shell=flag)
import subprocess as s; s.check_output(text, shell=1)
import subprocess; subprocess.getoutput(text)
from subprocess import getstatusoutput
import asyncio; asyncio.create_subprocess_shell(text)
import pandas; pandas.read_pickle(path)
frame.read_pickle(path)
reader.Unpickler(handle)
archive.extractall(folder)
archive.extract(name, folder)
import shutil; shutil.unpack_archive(path, folder)
import numcodecs; numcodecs.Pickle()
import ruamel.yaml
"""
GOOD = """
import numpy as np; np.load(path, allow_pickle=False)
import numpy; numpy.load(path, mmap_mode="r", allow_pickle=False)
import numpy as np; np.savez(handle, **arrays)
import json; json.load(handle)
import json; json.loads(text)
import tomllib; tomllib.loads(text)
from safetensors.torch import load; load(content)
import subprocess; subprocess.run(["git", "status"], check=True)
import subprocess; subprocess.run(["git"], shell=False)
import re; re.compile(text)
encoder.eval()
block.compile(fullgraph=True)
loader.load(store, rows)
import os; os.execution = 1
import torch; torch.save(state, path)
splits.load(path, store)
"""


@pytest.mark.parametrize("snippet", BAD.strip().splitlines())
def test_the_scan_finds_what_it_is_to_find(snippet: str) -> None:
    assert unsafe_code.findings(snippet, frozenset())
    # Inside a function, and after other lines, it is found as well.
    assert unsafe_code.findings(f"import re\ndef f(text, path):\n    if text:\n        {snippet}", frozenset())


@pytest.mark.parametrize("snippet", GOOD.strip().splitlines())
def test_the_scan_lets_good_code_be(snippet: str) -> None:
    assert unsafe_code.findings(snippet, frozenset()) == []


def test_what_is_allowed_in_a_place_is_allowed_there_as_it_must_be_only() -> None:
    torch_load, dumps = frozenset({"torch.load"}), frozenset({"pickle.dumps"})
    assert not unsafe_code.findings("import torch; torch.load(path, weights_only=True)", torch_load)
    for snippet in ("torch.load(path)", "torch.load(path, weights_only=False)", "torch.load(path, weights_only=w)"):
        assert unsafe_code.findings(f"import torch; {snippet}", torch_load)
    assert not unsafe_code.findings("import pickle; pickle.dumps(names, 2)", dumps)
    for snippet in ("pickle.loads(text)", "pickle.Unpickler(handle)", "run(pickle)", "pickle._loads(text)"):
        assert unsafe_code.findings(f"import pickle; {snippet}", dumps)
    assert unsafe_code.findings("import pickle as p; p.loads(text)", dumps)
    assert unsafe_code.findings("from pickle import loads", dumps)


def test_no_file_is_called_utils() -> None:
    assert not [path for path in FILES if path.stem in {"utils", "common", "helpers", "base", "misc"}]
