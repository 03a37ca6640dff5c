"""Files of the user are opened by `pipeline/files/regular_files.py`, which refuses pipes, sockets and devices."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted([*ROOT.glob("pipeline/**/*.py"), *ROOT.glob("trainer/**/*.py"), ROOT / "cli.py"])

ALLOWED = {
    "pipeline/files/regular_files.py": "opens regular files",
    "pipeline/files/disk.py": "syncs folders and files that this program wrote",
    "pipeline/ingest/dask_cluster.py": "a Dask worker that may lack this package reads a file that this program wrote",
    "trainer/terminal/commands.py": "opens the null device",
    "trainer/runs/folder_watch.py": "opens the folder of a run",
    "trainer/runtime/memory.py": "reads files of the kernel",
    "trainer/doctor/processor.py": "reads files of the kernel",
    "trainer/doctor/torch_probe.py": "reads files of the kernel",
    "trainer/bench/ingest.py": "reads the output of its own subprocess",
    "pipeline/files/atomic.py": "syncs a file that this program wrote under a random name",
}
"""Files that may open paths in another way, with the reason."""
READERS = {"read_bytes", "read_text"}
BY_PATH = {"ZipFile", "memmap", "fromfile", "loadtxt", "genfromtxt", "FileIO"}
"""Functions that open a path themselves; an open file is passed to them instead."""


def openings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield line and name of each call that opens a file for reading or appending by its path, or resolves its links.

    `Path.resolve` raises RuntimeError for a link to itself; `os.path.realpath` does not.
    """
    packaged = {
        id(call.func)
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and "resources.files" in ast.unparse(call.func)
    }
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call) or id(call.func) in packaged:
            continue
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        receiver = ast.unparse(call.func.value) if isinstance(call.func, ast.Attribute) else ""
        modes = [argument.value for argument in call.args if isinstance(argument, ast.Constant)]
        is_path = receiver not in {"", "io", "os", "regular_files"}
        opens = [
            name in READERS and is_path,
            name == "open" and receiver in {"", "io", "os"},
            name == "open"
            and is_path
            and not receiver.endswith(("archive", "zip"))
            and not any("w" in str(mode) for mode in modes),
            name == "resolve" and not call.args,
            (name in BY_PATH or f"{receiver}.{name}" in {"np.load", "torch.load"}) and not _is_open_file(call),
        ]
        if any(opens):
            yield call.lineno, ast.unparse(call.func)


def _is_open_file(call: ast.Call) -> bool:
    return not call.args or any(word in ast.unparse(call.args[0]) for word in ("stream", "handle", "BytesIO"))


def _foreign_openings(path: Path) -> list[str]:
    found = openings(ast.parse(path.read_text(encoding="utf-8")))
    return [f"{path.relative_to(ROOT)}:{line}: {name}" for line, name in found]


def test_files_are_opened_by_one_module() -> None:
    others = [path for path in FILES if str(path.relative_to(ROOT)) not in ALLOWED]
    assert [opening for path in others for opening in _foreign_openings(path)] == []


def test_every_allowed_file_needs_its_permission() -> None:
    assert [name for name in ALLOWED if not _foreign_openings(ROOT / name)] == []


@pytest.mark.parametrize(
    "code",
    [
        "path.read_bytes()",
        "(folder / NAME).read_text(encoding='utf-8')",
        "path.open('rb')",
        "path.open()",
        "path.open('ab', buffering=0)",
        "open(path)",
        "os.open(path, os.O_RDONLY)",
        "np.load(path)",
        "zipfile.ZipFile(path)",
        "io.FileIO(path)",
        "path.resolve()",
    ],
)
def test_a_planted_opening_is_found(code: str) -> None:
    assert len(list(openings(ast.parse(code)))) == 1


@pytest.mark.parametrize(
    "code",
    [
        "read_bytes(path)",
        "regular_files.read_text(path)",
        "path.open('wb')",
        "np.load(handle)",
        "zipfile.ZipFile(stream)",
        "(resources.files('pipeline.report') / name).read_text(encoding='utf-8')",
    ],
)
def test_other_calls_are_allowed(code: str) -> None:
    assert list(openings(ast.parse(code))) == []
