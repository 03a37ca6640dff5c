"""The largest number of people of a data set: a key of skeleton.toml, and an option of `ingest` that overrides it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

from pipeline.errors import ConfigError
from pipeline.recipes.recipe import apply_recipe, load_recipe, recipe_from_plain, shipped_recipes
from pipeline.skeleton.shipped_layouts import load_layout
from pipeline.sources.folder.skeleton_toml import read_skeleton_toml
from pipeline.store.store import Store
from tests.support.people import people, recorded

CLEAN = load_recipe("clean").resolved


def data_set(root: Path, key: str = "") -> Path:
    """Write a folder with one clip of two people."""
    root.mkdir()
    (root / "skeleton.toml").write_text(f'units = "m"\nlayout = "kinect-v2"\n{key}\n')
    (root / "manifest.csv").write_text("file,label\na.npy,0\n")
    np.save(root / "a.npy", people(np.random.default_rng(3), bodies=2))
    return root


@pytest.mark.parametrize(
    ("key", "option", "bodies"),
    [("", (), 2), ("max_people = 1", (), 1), ("", ("--max-people", 1), 1), ("max_people = 1", ("--max-people", 2), 2)],
)
def test_the_option_overrides_the_data_set(
    tmp_path: Path, skelepipe: Callable[..., Result], key: str, option: tuple[str, ...], bodies: int
) -> None:
    result = skelepipe("ingest", "folder", data_set(tmp_path / "raw", key), "--out", "one.zarr", *option)
    assert result.exit_code == 0, result.output
    store = Store(Path("one.zarr"))
    assert store.columns["bodies"].tolist() == [bodies]
    recipe = recipe_from_plain(store.attributes["recipe"], "the store")
    assert recipe.limits_people == bool(key or option)
    assert (recipe.resolved == CLEAN) == (not key and not option)


@pytest.mark.parametrize("value", ["0", "3", "1.5", "true", '"one"'])
def test_other_numbers_are_refused(tmp_path: Path, value: str) -> None:
    with pytest.raises(ConfigError, match="max_people") as caught:
        read_skeleton_toml(data_set(tmp_path / "raw", f"max_people = {value}") / "skeleton.toml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", shipped_recipes())
def test_every_shipped_recipe_can_be_limited(name: str) -> None:
    recipe = load_recipe(name).with_max_people(1)
    assert recipe_from_plain(recipe.resolved, name) == recipe
    assert recipe.with_max_people(1) == recipe
    assert recipe.with_max_people(2) != recipe
    bodies = people(np.random.default_rng(3), bodies=2)
    clip = apply_recipe(recipe, recorded(bodies))
    assert clip.layout == load_layout("kinect-v2")
    assert np.nan_to_num(clip.xyz[0]).any()
    if "copy_missing_second" not in [step.name for step in recipe.steps]:
        assert not np.nan_to_num(clip.xyz[1:]).any()
