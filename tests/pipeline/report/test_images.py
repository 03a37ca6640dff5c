"""Pictures of clips: hostile names, very long clips."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipeline.report import charts, images
from pipeline.report.figures import Figure, Panel
from pipeline.skeleton.layout import KINECT_V2

NAMES = ["$x", "$\\frac{x$", "a\nb\x1b[31m", "\ud800\x00", "_" * 5000, "<b>&\u202e", "^_{"]


def walk(frames: int) -> NDArray[np.float32]:
    """One body that moves, (1, frames, 25, 3)."""
    rest = np.random.default_rng(0).normal(size=(1, 1, 25, 3))
    return (rest + np.linspace(0, 1, frames)[None, :, None, None]).astype(np.float32)


def figure(name: str, xyz: NDArray[np.float32]) -> Figure:
    return Figure(title=name, layout=KINECT_V2, panels=[Panel(title=name, xyz=xyz)])


@pytest.mark.parametrize("name", NAMES)
def test_any_name_can_be_drawn(tmp_path: Path, name: str) -> None:
    figures = [figure(name, walk(3))] * 2
    images.write_animation(figures, tmp_path / "a.gif")
    for suffix in images.SUFFIXES:
        images.write_strip(figures, tmp_path / f"a{suffix}", 2)
        assert (tmp_path / f"a{suffix}").stat().st_size > 100
    assert "<svg" in charts.bars(name, [name], [1.0], unit="%", category="class")


@pytest.mark.parametrize("moves", [True, False])
def test_an_animation_of_a_very_long_clip_is_short_enough_for_the_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moves: bool
) -> None:
    monkeypatch.setattr(images, "MAX_FRAMES", 4)
    xyz = walk(40_000) if moves else np.repeat(walk(2)[:, :1], 40_000, axis=1)
    images.write_animation([figure("long", xyz)], tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as picture:
        total = 0
        for index in range(getattr(picture, "n_frames", 1)):
            picture.seek(index)
            total += picture.info["duration"]
    assert 0 < total <= images.MAX_MILLISECONDS


def test_only_the_shown_frames_of_a_long_clip_are_projected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    project = images._ProjectedPanel._project

    def counted(panel: images._ProjectedPanel, xyz: NDArray[np.float32]) -> NDArray[np.float64]:
        sizes.append(xyz.shape[1])
        return project(panel, xyz)

    monkeypatch.setattr(images._ProjectedPanel, "_project", counted)
    images.write_strip([figure("long", walk(100_000))], tmp_path / "a.png", 3)
    assert max(sizes) <= 2 * images.MAX_EXAMINED_FRAMES
    assert sizes.count(1) == 3
