"""The notebook of docs/examples runs from the first to the last cell."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOK = json.loads((ROOT / "docs" / "examples" / "first_steps.ipynb").read_text(encoding="utf-8"))
CELLS = ["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]


def as_script(cells: list[str]) -> str:
    """The cells one after the other; the value of a last expression is displayed as in a notebook."""
    lines = ["def display(value): print(getattr(value, '_repr_html_', lambda: repr(value))())"]
    for cell in cells:
        tree = ast.parse(cell)
        if isinstance(tree.body[-1], ast.Expr):
            last = ast.unparse(tree.body.pop())
            lines += [ast.unparse(tree), f"display({last})"]
        else:
            lines.append(cell)
    return "\n".join(lines)


@pytest.mark.slow
def test_the_notebook_runs(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", as_script(CELLS)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for text in (
        "Store('processed/ntu60.zarr': ntu60, 96 clips, 4 classes, 25 joints, recipe clean)",
        "'xsub': (48, 48)",
        "torch.Size([8, 3, 32, 25, 2])",
        "TrainedRun('runs/ntu60-xsub-demo': skeletonclr, stream motion, 5 epochs, seed 0)",
        "<table><caption>top-1 %</caption><tr><th>representation</th><th>knn</th><th>linear</th></tr>",
        "torch.Size([8, 128])",
    ):
        assert text in done.stdout, done.stdout


def test_the_notebook_is_stored_without_output() -> None:
    assert all(not cell.get("outputs") and not cell.get("execution_count") for cell in NOTEBOOK["cells"])
    assert NOTEBOOK["nbformat"] == 4
