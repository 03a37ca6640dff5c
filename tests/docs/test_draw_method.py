"""The pictures of docs/training/method.md: drawn by the training code, and shown on the page."""

import re
from pathlib import Path

from docs.figures import draw_method

DOCS = Path(__file__).parents[2] / "docs"
IMAGES = DOCS / "figures" / "images"
PAGE = (DOCS / "training" / "method.md").read_text(encoding="utf-8")


def test_pictures_have_few_bytes_and_are_reproducible(tmp_path: Path) -> None:
    first = draw_method.draw_all(tmp_path / "first")
    assert max(path.stat().st_size for path in first) < 60_000
    second = draw_method.draw_all(tmp_path / "second")
    assert [path.read_bytes() for path in second] == [path.read_bytes() for path in first]


def test_the_page_shows_the_stored_pictures() -> None:
    names = re.findall(r"!\[[^]]+\]\(\.\./figures/images/method-(\w+)\.svg\)", PAGE)
    assert names == list(draw_method.PICTURES)
    assert {path.stem for path in IMAGES.glob("method-*")} == {f"method-{name}" for name in names}


def test_the_pasted_region_is_one_that_training_draws() -> None:
    """Two or three of five parts, for 28 to 44 of 64 frames, as the page says."""
    pasted = draw_method.region()
    assert 4 * pasted.frames in range(28, 45)
    parts = draw_method.KINECT_V2.parts.values()
    assert sum(set(joints) <= set(pasted.joints) for joints in parts) in (2, 3)
