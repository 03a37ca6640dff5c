"""docs/api.md and docs/functions.md are promises: their names have these arguments, and their examples run."""

import inspect
import os
import pkgutil
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest

import pipeline
import trainer
from cli import main
from pipeline.export.export import ExportRequest, export
from pipeline.store.store import Store
from tests.support.result_files import result_file
from trainer.inference import embed
from trainer.runs.run import Run

ROOT = Path(__file__).parents[2]
START_PAGE, PAGE = ((ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("api.md", "functions.md"))
STARTS, EMBEDS, EVALUATES, SHOWS = re.findall(r"```python\n(.*?)```", START_PAGE + PAGE, re.DOTALL)
LISTED = re.findall(r"(?m)^\| `((?:pipeline|skelepipe|trainer)\.[\w.]+)\((.*?)\)` \| (.+) \|$", START_PAGE + PAGE)


def found(name: str) -> Any:
    """What a name like `pipeline.store.Store.clip` means."""
    return pkgutil.resolve_name(name)


def signature(value: Any) -> str:
    """Arguments as the page has them: without types, defaults that are no plain values as `...`."""
    parts = []
    for parameter in inspect.signature(value).parameters.values():
        if parameter.name == "self":
            continue
        if (
            parameter.kind is parameter.KEYWORD_ONLY
            and not any(part[0] == "*" for part in parts)
            and not inspect.isclass(value)
        ):
            parts.append("*")
        default, plain = parameter.default, str | int | float | bool | tuple | None
        shown = repr(default).replace("'", '"') if isinstance(default, plain) else "..."
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            parts.append("*" if parameter.kind is parameter.VAR_POSITIONAL else "**")
            parts[-1] += parameter.name
            continue
        parts.append(parameter.name if default is parameter.empty else f"{parameter.name}={shown}")
    return ", ".join(parts)


@pytest.mark.parametrize(("name", "arguments", "sentence"), LISTED, ids=[name for name, *_ in LISTED])
def test_every_name_on_the_page_is_there_with_these_arguments(name: str, arguments: str, sentence: str) -> None:
    value = found(name)
    assert signature(value) == arguments
    assert value.__doc__
    assert sentence.endswith(".")


@pytest.mark.parametrize("name", [name for name, *_ in LISTED])
def test_every_function_that_takes_a_path_accepts_text(name: str) -> None:
    value = found(name)
    function = value.__init__ if inspect.isclass(value) else value
    types = {key: str(kind) for key, kind in get_type_hints(function).items() if key != "return"}
    paths = {key for key, kind in types.items() if "pathlib.Path" in kind}
    accepts = hasattr(function, "__wrapped__")
    assert accepts or all("str" in types[key] for key in paths)


def test_the_page_has_a_function_for_every_command_but_those_of_the_command_line_itself() -> None:
    assert len(LISTED) == (START_PAGE + PAGE).count("\n| `")
    ways = {"export --format onnx", "ingest --partition", "view --mix", "config show"}
    for command in main.commands.keys() - {"bench", "completion", "config", "demo"} | ways:
        assert f": `{command}`." in PAGE, command


@pytest.mark.slow
def test_the_first_example_trains_and_evaluates(own_store: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"{STARTS}\nprint(tuple(features.shape))"],
        cwd=own_store.parents[1],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "runs/ntu60-xsub-quick on ntu60 xsub, top-1 %" in done.stdout
    assert done.stdout.splitlines()[-1].endswith(", 128)")


@pytest.mark.slow
def test_the_examples_run_as_they_stand(raw: Path, shared_run: Run, shared_store: Store, tmp_path: Path) -> None:
    """The ten lines give a run's features; the others go from recordings to numbers, and to pages."""
    assert len([line for line in EMBEDS.splitlines() if line]) <= 10
    shutil.copytree(raw, tmp_path / "raw")
    shutil.copytree(shared_run.path, tmp_path / "runs" / "ntu60-xsub-quick")
    export(ExportRequest(store=shared_store, format="npz", output=tmp_path / "ntu60.npz"))
    short = EVALUATES.replace('"epochs=2"', '"epochs=1", "encoder.hidden_channels=2", "frames=16"')
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"{EMBEDS}\nnp.save('found.npy', features)\n{short}{SHOWS}"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    wanted = embed.encode(shared_run, embed.from_file(shared_run, tmp_path / "ntu60.npz"))
    np.testing.assert_array_equal(np.load(tmp_path / "found.npy"), wanted.features)
    assert "72 clips, 3 recordings cannot be used" in done.stdout
    for row in ("pre-trained", "pre-trained, recalibrated", "random encoder", "raw coordinates"):
        assert re.search(rf"(?m)^{row}: \d+\.\d %$", done.stdout)
    assert result_file(tmp_path / "runs" / "mine", "knn.json").exists()
    assert "\n6 clips of 25 joints\n" in done.stdout
    assert re.search(r"(?m)^kNN top-1 \d+\.\d %: ", done.stdout)
    assert re.search(r"(?m)^epochs 1 ", done.stdout)
    assert re.search(r"(?m)^(ok|note|problem) torch torch ", done.stdout)
    assert (tmp_path / "clips.html").exists()
    assert (tmp_path / "runs" / "mine" / "report.html").exists()


@pytest.mark.slow
def test_mypy_knows_the_types_of_the_examples(tmp_path: Path) -> None:
    """Strictly, as in a user's own project; and finds what is wrong."""
    (tmp_path / "right.py").write_text(EMBEDS + EVALUATES.replace("from pathlib import Path\n", "", 1))
    (tmp_path / "shows.py").write_text(SHOWS)
    (tmp_path / "wrong.py").write_text(EMBEDS + "features.upper()\nembed.encode(run, clips, layer='none')\n")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--no-error-summary", *sorted(tmp_path.glob("*.py"))],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    told = re.findall(r"(?m)(\w+)\.py:\d+: error: .*\[([a-z-]+)\]$", done.stdout)
    assert told == [("wrong", "attr-defined"), ("wrong", "arg-type")], done.stdout
    assert len(done.stdout.splitlines()) == 2


def test_the_packages_say_that_they_are_typed() -> None:
    for package in (pipeline, trainer):
        assert (Path(package.__path__[0]) / "py.typed").is_file()
