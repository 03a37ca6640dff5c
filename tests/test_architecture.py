"""The arrows of the design, read off the imports: cli -> trainer -> pipeline, heavy libraries each in its own room."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted([*ROOT.glob("pipeline/*.py"), *ROOT.glob("trainer/*.py"), ROOT / "cli.py"])

OWNERS = {
    "zarr": {"pipeline/store.py"},
    "numcodecs": {"pipeline/shards.py"},
    "numba": {path.relative_to(ROOT).as_posix() for path in FILES if path.stem.endswith("_kernels")},
    "rich": {"pipeline/display.py", "trainer/display.py", "cli.py"},
    "click": {"cli.py"},
    "distributed": {"pipeline/cluster.py"},
    "dask": set(),
    "filelock": {"pipeline/publish.py"},
    "safetensors": {"trainer/tensors.py"},
    "pickle": {"pipeline/export_pyskl.py", "pipeline/export_stgcn.py"},  # which write it
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


def test_nothing_is_unpickled_anywhere() -> None:
    for path in [*FILES, *ROOT.glob("benchmarks/*.py")]:
        source = path.read_text(encoding="utf-8")
        for unsafe in (
            "weights_only=False",
            "allow_pickle=True",
            "pickle.load",
            "Unpickler",
            "joblib.load",
        ):
            assert unsafe not in source, f"{path} has {unsafe}"
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "np.load":
                assert "allow_pickle=False" in ast.unparse(node), f"{path}:{node.lineno}"
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                assert path.name == "torch_file.py", f"{path}:{node.lineno}"
                assert "weights_only=True" in ast.unparse(node), f"{path}:{node.lineno}"


def test_no_file_is_called_utils() -> None:
    assert not [path for path in FILES if path.stem in {"utils", "common", "helpers", "base", "misc"}]
