"""What the shell completes, in this process and through bash itself."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from cli import main
from pipeline.recipes.recipe import shipped_recipes
from pipeline.store.split_rules import OFFICIAL_RULES
from pipeline.store.store import Store
from trainer.config.evaluation import EvalConfig
from trainer.config.keys import keys_of_model
from trainer.config.layers import flatten
from trainer.config.presets import preset_names
from trainer.config.pretrain import PretrainConfig
from trainer.runs.run import Run
from trainer.terminal import completion_words
from trainer.terminal.commands import Choice
from trainer.terminal.completion import completer

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, shared_store: Store, shared_run: Run) -> Path:
    """A folder with a store, its splits and a run."""
    folder = tmp_path_factory.mktemp("completed")
    shutil.copytree(shared_store.path.parent, folder / "processed")
    (folder / "runs").mkdir()
    shutil.copytree(shared_run.path, folder / "runs" / "tiny")
    return folder


def completed(line: str) -> list[str]:
    *args, incomplete = line.split(" ")
    return [item.value for item in completer("zsh")(main, {}, "skelepipe", "X").get_completions(args, incomplete)]


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("pre", ["pretrain", "predict"]),
        ("config ", ["show"]),
        ("ingest ntu1", ["ntu120"]),
        ("ingest ntu60 --rec", ["--recipe"]),
        ("ingest ntu60 --recipe cl", ["clean", "clean-certain"]),
        ("pretrain --preset qu", ["quick"]),
        ("view processed/ntu60.zarr S001C001", ["S001C001P034R002A002"]),
        ("pretrain --set pair.q", ["pair.queue_size="]),
        ("pretrain --set epochs=1 pair.q", ["pair.queue_size="]),
        ("pretrain --set stream=", ["stream=joint", "stream=motion", "stream=bone"]),
        ("pretrain --split x", ["xsub", "xview"]),
        ("pretrain proc", ["processed/ntu60.zarr"]),
        ("build-splits --split ", ["xsub", "xview"]),
        ("eval ", ["runs/tiny"]),
        ("eval --protocol knn l", ["linear"]),
        ("eval --set knn.l", ["knn.layer="]),
        ("eval --checkpoint b", ["best"]),
        ("config show --eval --set knn.k", ["knn.k="]),
        ("verify r", ["runs/tiny"]),
        ("pretrain --method skelem", ["skelemixclr", "skelemixclr+"]),
        ("pretrain --device c", ["cpu", "cuda"]),
        ("pretrain nowhere", ["nowhere"]),
    ],
)
def test_each_place_is_completed(line: str, wanted: list[str], place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    assert completed(line) == wanted


def test_what_is_completed_is_what_there_is() -> None:
    assert [word for word, _ in completion_words.recipes({})] == shipped_recipes()
    assert [word for word, _ in completion_words.presets({})] == preset_names()
    assert all(about for _, about in [*completion_words.recipes({}), *completion_words.presets({})])
    assert {
        name: tuple(rule.name for rule in rules) for name, rules in OFFICIAL_RULES.items()
    } == completion_words.SPLITS
    assert list(keys_of_model(PretrainConfig)) == list(flatten(PretrainConfig().model_dump()))
    assert list(keys_of_model(EvalConfig)) == list(flatten(EvalConfig().model_dump()))


def test_the_choices_of_a_key_are_what_its_model_takes() -> None:
    schema = PretrainConfig.model_json_schema()
    taken = schema["properties"]["schedule"]["enum"] + schema["$defs"]["MixConfig"]["properties"]["fill"]["enum"]
    found = keys_of_model(PretrainConfig)
    assert [*found["schedule"].choices, *found["method.mix.fill"].choices] == taken
    assert found["fit_to_data"].choices == ("true", "false")
    assert found["epochs"].choices == ()


def test_a_damaged_store_breaks_no_completion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "processed" / "x.zarr").mkdir(parents=True)
    (tmp_path / "processed" / "LATEST.json").write_text("[" * 100_000)
    for text in ("", "[1]", '{"attributes": {"skelepipe": {"dataset": [], "splits": 3}}}'):
        (tmp_path / "processed" / "x.zarr" / "zarr.json").write_text(text)
        assert completed("build-splits --split ") == []
        assert completed("pretrain --split ") == []


def test_every_choice_says_what_may_be_meant() -> None:
    waiting = list(main.commands.values())
    while waiting:
        command = waiting.pop()
        waiting += command.commands.values() if isinstance(command, click.Group) else []
        assert not [param for param in command.params if type(param.type) is click.Choice], command.name
    assert "did you mean knn?" in Choice(["knn", "linear"]).get_invalid_choice_message("knm", None)


def asked(place: Path, line: str) -> str:
    """What bash has on the line after Tab, by the script and completion as they are."""
    (place / "skelepipe").write_text(f'#!/bin/sh\nexec {sys.executable} -m cli "$@"\n')
    (place / "skelepipe").chmod(0o755)
    script = f"""
    eval "$(skelepipe completion bash)"
    COMP_LINE={line!r}; COMP_WORDBREAKS=$' \\t\\n"=><;|&(:'
    read -ra COMP_WORDS <<< "$(sed 's/=/ = /g' <<< "$COMP_LINE")"
    [[ $COMP_LINE == *[\\ =] ]] && COMP_WORDS+=("")
    COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
    compopt() {{ :; }}
    _skelepipe_completion skelepipe
    echo "${{COMPREPLY[*]}}"
    """
    own = {"PATH": f"{place}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "-c", script], cwd=place, env=os.environ | own, capture_output=True, text=True, check=True
    )
    return done.stdout.strip().replace("\n", " ")


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes_by_the_printed_script(place: Path) -> None:
    assert asked(place, "skelepipe pret") == "pretrain"
    assert asked(place, "skelepipe eval --protocol knn ret") == "retrieval"
    assert asked(place, "skelepipe pretrain --set epochs=3 stream=") == "joint motion bone"
    assert asked(place, "skelepipe pretrain --set stream=b") == "bone"


def test_completing_imports_nothing_heavy(place: Path) -> None:
    code = (
        "import sys, cli\n"
        "from trainer.terminal.completion import completer\n"
        "comp = completer('bash')(cli.main, {}, 'skelepipe', 'X')\n"
        "for args in (['pretrain', '--set'], ['ingest', 'ntu60', '--recipe'], ['pretrain', '--split'], ['eval']):\n"
        "    assert comp.get_completions(args, '')\n"
        "sys.exit(bool({'numpy', 'torch', 'zarr', 'numba', 'rich', 'pydantic'} & set(sys.modules)))"
    )
    own = {"PYTHONPATH": str(ROOT)}
    assert subprocess.run([sys.executable, "-c", code], cwd=place, env=os.environ | own).returncode == 0
