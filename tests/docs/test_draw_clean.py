"""The pictures of docs/data/clean.md: one per step of recipe `clean`, and the page shows them all."""

import re
from pathlib import Path

import pytest

from docs.figures import draw_clean
from pipeline.recipes.recipe import load_recipe

DOCS = Path(__file__).parents[2] / "docs"
IMAGES = DOCS / "figures" / "images"
PAGE = (DOCS / "data" / "clean.md").read_text(encoding="utf-8")
STEPS = [step.name for step in load_recipe("clean").steps]


@pytest.mark.slow
def test_every_step_is_drawn_with_few_bytes_and_reproducibly(tmp_path: Path) -> None:
    first = draw_clean.draw_all(tmp_path / "first")
    assert [path.name for path in first] == [f"clean-{step}.svg" for step in STEPS]
    assert max(path.stat().st_size for path in first) < 60_000
    second = draw_clean.draw_all(tmp_path / "second")
    assert [path.read_bytes() for path in second] == [path.read_bytes() for path in first]


def test_the_page_shows_the_pictures_in_the_order_of_the_steps() -> None:
    assert re.findall(r"!\[[^]]+\]\(\.\./figures/images/clean-(\w+)\.svg\)", PAGE) == STEPS


def test_the_stored_pictures_are_those_of_the_steps() -> None:
    assert {path.stem for path in IMAGES.glob("clean-*")} == {f"clean-{step}" for step in STEPS}


def test_a_step_without_a_picture_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    others = {name: draw for name, draw in draw_clean.PICTURES.items() if name != "rejoin"}
    monkeypatch.setattr(draw_clean, "PICTURES", others)
    with pytest.raises(SystemExit, match="no picture of rejoin"):
        draw_clean.draw_all(tmp_path)
    assert not list(tmp_path.iterdir())
