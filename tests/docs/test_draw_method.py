"""The pictures of docs/method.md: drawn by the code that trains, and shown in the text."""

import re
from pathlib import Path

from docs import draw_method

DOCS = Path(__file__).parents[2] / "docs"


def test_the_pictures_are_small_and_always_the_same(tmp_path: Path) -> None:
    drawn = draw_method.draw_all(tmp_path / "once")
    assert max(path.stat().st_size for path in drawn) < 60_000
    again = draw_method.draw_all(tmp_path / "twice")
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in drawn]


def test_the_text_shows_the_pictures_that_are_kept() -> None:
    shown = re.findall(r"!\[[^]]+\]\(images/method-(\w+)\.svg\)", (DOCS / "method.md").read_text(encoding="utf-8"))
    assert shown == list(draw_method.PICTURES)
    assert {path.stem for path in (DOCS / "images").glob("method-*")} == {f"method-{name}" for name in shown}


def test_what_is_shown_as_pasted_is_what_training_pastes() -> None:
    """Two or three of five parts, for 28 to 44 of 64 frames, as the text says."""
    pasted = draw_method.region()
    assert 4 * pasted.frames in range(28, 45)
    parts = draw_method.KINECT_V2.parts.values()
    assert sum(set(joints) <= set(pasted.joints) for joints in parts) in (2, 3)
