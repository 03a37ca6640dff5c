"""`config show`: every value and its origin, and the TOML file that it prints."""

import json
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cli import main
from pipeline.store.store import Store
from trainer.config.evaluation import EvalConfig
from trainer.config.keys import keys_of_model
from trainer.config.layers import flatten
from trainer.config.presets import compose_pretrain, load_preset, preset_names
from trainer.config.pretrain import PretrainConfig
from trainer.pretrain.pretrain import PretrainRequest, pretrain
from trainer.runs.effective_config import NOT_RECORDED, EffectiveConfig, EffectiveValue, config_to_toml
from trainer.runs.run import Run, load_run

Show = Callable[..., Result]


@pytest.fixture
def show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Show:
    """Run `config show` in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *args: CliRunner().invoke(main, ["config", "show", *map(str, args)])


def values(done: Result) -> dict[str, tuple[object, str]]:
    assert done.exit_code == 0, done.output
    return {key: (held["value"], held["origin"]) for key, held in json.loads(done.stdout)["values"].items()}


def test_every_value_has_its_origin(show: Show, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("epochs = 7\nframes = 40\n[pair]\nstart = 'apart'\n")
    given = ("--preset", "quick", "--config", "mine.toml", "--set", "epochs=9", "encoder.dropout=0.1")
    done = show(*given, "--json")
    found = values(done)
    assert found["epochs"] == (9, "--set")
    assert found["frames"] == (40, "mine.toml")
    assert found["pair.start"] == ("apart", "mine.toml")
    assert found["batch_size"] == (64, "preset quick")
    assert found["encoder.dropout"] == (0.1, "--set")
    assert found["augment.shear"] == (0.5, "default")
    assert "this is preset quick before it is fitted to data" in done.stderr
    assert list(found) == list(keys_of_model(PretrainConfig))
    assert json.loads(done.stdout)["values"]["frames"]["about"] == "Number of frames T to which every clip is resized."


def test_with_a_store_it_shows_what_pretrain_records(show: Show, shared_store: Store, tmp_path: Path) -> None:
    given = ["--preset", "quick", "--set", "epochs=1", "batch_size=36", "frames=16", "encoder.hidden_channels=2"]
    given += ["method.mix.frames=[1, 3]"]
    found = values(show(shared_store.path, *given, "--json"))
    assert found["bodies"] == (2, "default")
    assert found["pair.queue_size"] == (16, "fitted to the data")
    out = ("--out", tmp_path / "run", "--device", "cpu", "--stream", "bone", "--fast", "off")
    done = CliRunner().invoke(main, ["pretrain", str(shared_store.path), *map(str, [*given, *out])])
    assert done.exit_code == 0, done.output
    run = load_run(tmp_path / "run")
    assert run.origins is not None
    assert run.origins["pair.queue_size"] == "fitted to the data"
    assert values(show(tmp_path / "run", "--json")) == found | {"stream": ("bone", "--stream")}


def test_the_printed_file_gives_the_same_configuration(show: Show, shared_store: Store, tmp_path: Path) -> None:
    for name in preset_names():
        (tmp_path / "again.toml").write_text(show("--preset", name, "--toml", "--set", "warm_up=1e-05").stdout)
        again = compose_pretrain(load_preset(name), tmp_path / "again.toml")
        asked = compose_pretrain(load_preset(name), None, ["warm_up=1e-05"])
        assert again == asked
        assert again.fitted(5000, 1) == asked.fitted(5000, 1), name
    fitted = show(shared_store.path, "--preset", "quick", "--set", "batch_size=36", "--toml").stdout
    assert tomllib.loads(fitted)["pair"]["queue_size"] == 16
    assert "queue_size = 16  # fitted to the data" in fitted


def test_strings_are_escaped_as_toml() -> None:
    odd = 'a"b\\c\x7f\t\u00e9\U0001f600'
    shown = EffectiveConfig(of="x", values=[EffectiveValue("recipe", odd, "default", "")], notes=[])
    assert tomllib.loads("\n".join(config_to_toml(shown)))["recipe"] == odd


def test_a_run_without_recorded_origins_says_so(show: Show, shared_run: Run) -> None:
    done = show(shared_run.path)  # made without the command line: it was told of no origins
    assert done.exit_code == 0
    assert "fitted to the data" in done.stdout
    old = next((Path(__file__).parents[1] / "golden" / "v1").rglob("run.json")).parent
    found = values(show(old, "--json"))
    assert {origin for _, origin in found.values()} == {"default", NOT_RECORDED}
    assert flatten(load_run(old).config.model_dump(mode="json")) == {key: value for key, (value, _) in found.items()}
    assert "did not record origins" in show(old).stdout


def test_the_settings_with_which_a_run_is_evaluated_are_shown(show: Show, shared_run: Run) -> None:
    assert values(show(shared_run.path, "--eval", "--json"))["linear.drop_last"] == (False, "preset quick")


def test_the_settings_of_eval_are_shown(show: Show) -> None:
    found = values(show("--eval", "--set", "knn.k=5", "semi.epochs=3", "--json"))
    assert found["knn.k"] == (5, "--set")
    assert found["semi.epochs"] == (3, "--set")
    assert found["semi.nesterov"] == (False, "default")  # the reference's, not fine-tuning's
    assert list(found) == list(keys_of_model(EvalConfig))
    assert found["linear.learning_rate"] == (3.0, "default")
    quick = values(show("--eval", "--preset", "quick", "--json"))
    assert quick["linear.learning_rate"] == (0.3, "preset quick")
    assert "for 1 % and less: learning_rate 0.05" in " ".join(show("--eval").stdout.split())


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("--set queue_size=16", "did you mean pair.queue_size?"),
        ("--preset quik", "did you mean quick?"),
        ("--config none.toml", "none.toml: no such file"),
        ("--eval --preset quik", "did you mean quick?"),
        ("--eval --split xsub", "--eval and --split cannot be combined"),
        ("--json --toml", "--json and --toml cannot be combined"),
        ("nowhere.zarr", "nowhere.zarr: no such file or folder"),
        ("--eval --set epochs=3", "did you mean linear.epochs or finetune.epochs or semi.epochs?"),
    ],
)
def test_errors_are_one_line(show: Show, given: str, says: str) -> None:
    done = show(*given.split())
    assert done.exit_code == 2, done.output
    assert says in done.stderr
    assert "Traceback" not in done.output


def test_a_configuration_that_pretrain_refuses_is_shown_with_a_note(show: Show, shared_store: Store) -> None:
    done = show(shared_store.path, "--preset", "ntu60-xsub")
    assert done.exit_code == 0
    assert "pretrain rejects this configuration: batch_size 128 is more than the 36 training clips" in done.stdout


def test_descriptions_are_shown_in_wide_terminals_only(show: Show, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    narrow = show("--preset", "quick").stdout
    assert max(map(len, narrow.splitlines()[:-1])) <= 60
    assert all(key in narrow for key in keys_of_model(PretrainConfig))
    assert "resized" not in narrow
    monkeypatch.setenv("COLUMNS", "160")
    assert "every clip is resized" in show("--preset", "quick").stdout


def test_origins_do_not_change_which_run_is_resumed(
    train_request: Callable[..., PretrainRequest], shared_run: Run
) -> None:
    request = train_request(shared_run.path)
    assert request.origins == {}
    assert pretrain(request).outcome == "up to date"
