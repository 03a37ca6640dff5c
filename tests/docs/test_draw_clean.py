"""The pictures of docs/clean.md: every step of `clean` has one, and the text shows it."""

import re
from pathlib import Path

import pytest

from docs import draw_clean
from pipeline.recipes.recipe import load_recipe

DOCS = Path(__file__).parents[2] / "docs"
STEPS = [step.name for step in load_recipe("clean").steps]


def test_every_step_of_clean_is_drawn_small_and_always_the_same(tmp_path: Path) -> None:
    drawn = draw_clean.draw_all(tmp_path / "once")
    assert [path.name for path in drawn] == [f"clean-{step}.svg" for step in STEPS]
    assert max(path.stat().st_size for path in drawn) < 60_000
    again = draw_clean.draw_all(tmp_path / "twice")
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in drawn]


def test_the_text_shows_the_pictures_in_the_order_of_the_steps() -> None:
    shown = re.findall(r"!\[[^]]+\]\(images/clean-(\w+)\.svg\)", (DOCS / "clean.md").read_text(encoding="utf-8"))
    assert shown == STEPS


def test_the_pictures_that_are_kept_are_those_of_the_steps() -> None:
    assert {path.stem for path in (DOCS / "images").glob("clean-*")} == {f"clean-{step}" for step in STEPS}


def test_a_step_without_a_picture_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    others = {name: draw for name, draw in draw_clean.PICTURES.items() if name != "rejoin"}
    monkeypatch.setattr(draw_clean, "PICTURES", others)
    with pytest.raises(SystemExit, match="no picture of rejoin"):
        draw_clean.draw_all(tmp_path)
    assert not list(tmp_path.iterdir())
