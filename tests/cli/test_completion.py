"""Shell completion, in this process and with bash itself."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete

from cli import main
from pipeline.recipes.recipe import shipped_recipes
from pipeline.store.store import Store
from trainer.config.evaluation import EvalConfig
from trainer.config.keys import keys_of_model
from trainer.config.layers import flatten
from trainer.config.presets import preset_names
from trainer.config.pretrain import PretrainConfig
from trainer.runs.run import Run
from trainer.terminal.commands import Choice

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory, shared_store: Store, shared_run: Run) -> Path:
    """A folder with a store, its splits and a run."""
    folder = tmp_path_factory.mktemp("completed")
    shutil.copytree(shared_store.path.parent, folder / "processed")
    (folder / "runs").mkdir()
    shutil.copytree(shared_run.path, folder / "runs" / "tiny")
    return folder


def complete(line: str) -> list[str]:
    *args, incomplete = line.split(" ")
    return [item.value for item in ShellComplete(main, {}, "skelepipe", "X").get_completions(args, incomplete)]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("pre", ["pretrain", "predict"]),
        ("config ", ["show"]),
        ("ingest ntu1", ["ntu120"]),
        ("ingest ntu60 --rec", ["--recipe"]),
        ("ingest ntu60 --recipe cl", ["clean", "clean-certain"]),
        ("pretrain --preset qu", ["quick"]),
        ("pretrain --set pair.q", ["pair.queue_size="]),
        ("pretrain --set stream=", ["stream=joint", "stream=motion", "stream=bone"]),
        ("pretrain --set epochs=", []),
        ("pretrain --split x", ["xsub", "xview"]),
        ("pretrain proc", ["processed/ntu60.zarr"]),
        ("eval ", ["runs/tiny"]),
        ("eval --set knn.l", ["knn.layer="]),
        ("eval --checkpoint b", ["best"]),
        ("config show --eval --set knn.k", ["knn.k="]),
        ("verify r", ["runs/tiny"]),
        ("pretrain nowhere", ["nowhere"]),
    ],
)
def test_values_are_completed(line: str, expected: list[str], workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workspace)
    assert complete(line) == expected


def test_all_recipes_presets_and_keys_are_completed() -> None:
    assert complete("ingest ntu60 --recipe ") == shipped_recipes()
    assert complete("pretrain --preset ") == preset_names()
    assert complete("pretrain --set ") == [f"{key}=" for key in flatten(PretrainConfig().model_dump())]
    assert complete("eval --set ") == [f"{key}=" for key in flatten(EvalConfig().model_dump())]


def test_the_choices_of_a_key_are_those_of_its_model() -> None:
    schema = PretrainConfig.model_json_schema()
    allowed = schema["properties"]["schedule"]["enum"] + schema["$defs"]["MixConfig"]["properties"]["fill"]["enum"]
    keys = keys_of_model(PretrainConfig)
    assert [*keys["schedule"].choices, *keys["method.mix.fill"].choices] == allowed
    assert keys["fit_to_data"].choices == ("true", "false")
    assert keys["epochs"].choices == ()


def test_every_choice_has_suggestions() -> None:
    waiting = list(main.commands.values())
    while waiting:
        command = waiting.pop()
        waiting += command.commands.values() if isinstance(command, click.Group) else []
        assert not [param for param in command.params if type(param.type) is click.Choice], command.name
    assert "did you mean knn?" in Choice(["knn", "linear"]).get_invalid_choice_message("knm", None)


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes_with_the_printed_script(workspace: Path) -> None:
    (workspace / "skelepipe").write_text(f'#!/bin/sh\nexec {sys.executable} -m cli "$@"\n')
    (workspace / "skelepipe").chmod(0o755)
    script = """
    eval "$(skelepipe completion bash)"
    COMP_WORDS=(skelepipe pretrain --preset qu); COMP_CWORD=3
    _skelepipe_completion skelepipe
    echo "${COMPREPLY[*]}"
    """
    environment = os.environ | {"PATH": f"{workspace}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "-c", script], cwd=workspace, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "quick"


def test_completion_imports_nothing_heavy(workspace: Path) -> None:
    code = (
        "import sys, cli\n"
        "from click.shell_completion import ShellComplete\n"
        "shell = ShellComplete(cli.main, {}, 'skelepipe', 'X')\n"
        "for args in (['pretrain', '--set'], ['ingest', 'ntu60', '--recipe'], ['pretrain', '--split'], ['eval']):\n"
        "    assert shell.get_completions(args, '')\n"
        "sys.exit(bool({'numpy', 'torch', 'zarr', 'numba', 'rich'} & set(sys.modules)))"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    assert subprocess.run([sys.executable, "-c", code], cwd=workspace, env=environment).returncode == 0
