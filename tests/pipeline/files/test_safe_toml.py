"""TOML that would stop, or occupy for minutes, whoever reads it is refused as TOML that is none."""

from pathlib import Path

import pytest

from pipeline.errors import ConfigError, RecipeError
from pipeline.files import safe_toml
from pipeline.recipes.recipe import load_recipe
from pipeline.sources.folder.skeleton_toml import read_skeleton_toml
from trainer.config.evaluation import compose_eval
from trainer.config.presets import compose_pretrain, load_preset

DEEP = {
    "lists": f"x = {'[' * 20_000}{']' * 20_000}",
    "lists that are not closed": f"x = {'[' * 20_000}",
    "tables": f"x = {'{a=' * 20_000}1{'}' * 20_000}",
    "lists that tomllib takes": f"x = {'[' * 40}{']' * 40}",
    "a dotted key": "a." * 40 + "b = 1",
    "a dotted table": f"[{'a . ' * 40}b]",
    "a dotted key of quoted parts": "'a'.\"b\"." * 40 + "c = 1",
}
GIGANTIC = {"hex": f"x = 0x{'f' * 5000}", "digits": f"x = {'9' * 30}", "below": "x = -9223372036854775809"}


@pytest.mark.parametrize("text", DEEP.values(), ids=DEEP)
def test_deep_nesting_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"nested too deeply|a key of more than 32 parts"):
        safe_toml.loads(text)


@pytest.mark.parametrize("text", GIGANTIC.values(), ids=GIGANTIC)
def test_integers_of_more_than_64_bits_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="an integer of more than 64 bits"):
        safe_toml.loads(text)


def test_what_is_nested_a_little_is_read() -> None:
    text = "x = [[[1, 9223372036854775807]]]\n[a.b.'c.d'.e]\nf = {g.h = -9223372036854775808}\n# " + "a." * 9
    assert safe_toml.loads(text) == {
        "x": [[[1, 2**63 - 1]]],
        "a": {"b": {"c.d": {"e": {"f": {"g": {"h": -(2**63)}}}}}},
    }


@pytest.mark.timeout(60)  # by the square of the parts it would be an hour
def test_a_key_of_very_many_parts_takes_no_time() -> None:
    with pytest.raises(ValueError, match="a key of more than 32 parts"):
        safe_toml.loads("a." * 500_000 + "b = 1")


@pytest.mark.parametrize("text", [*DEEP.values(), *GIGANTIC.values()])
def test_every_reader_of_toml_refuses_it_and_names_the_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.toml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=r"x\.toml: cannot be read as TOML: "):
        load_recipe(str(path))
    with pytest.raises(ConfigError, match=r"x\.toml: cannot be read as TOML: "):
        read_skeleton_toml(path)
    with pytest.raises(ConfigError, match=r"x\.toml: "):
        compose_pretrain(load_preset("quick"), path)


@pytest.mark.parametrize("setting", [f"x={'[' * 20_000}", f"{'a.' * 200}b=1", f"seed=0x{'f' * 5000}"])
def test_every_reader_of_settings_refuses_it(setting: str) -> None:
    for compose in (compose_eval, lambda given: compose_pretrain(load_preset("quick"), None, given)):
        with pytest.raises(ConfigError, match=r"^(--set|evaluation|configuration)\b"):
            compose([setting])
