"""Draw the pictures of docs/training/method.md: what training does to two clips, computed by the training code.

Run: python -m docs.figures.draw_method [FOLDER]

Synthetic people; views by trainer/data/augment.py, mixing by trainer/methods/skelemix.py, with the settings of the
presets. The same code gives the same bytes.
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from docs.figures.draw_clean import (
    BLACK,
    BLUE,
    BONES,
    BOTH_ARMS,
    GREEN,
    GREY,
    IMAGES,
    ORANGE,
    SQUATTING,
    STYLE,
    actor,
    panels,
    rounded,
    runs,
)
from pipeline.skeleton.layout import KINECT_V2
from trainer.config.method import AugmentConfig, MixConfig
from trainer.data import augment, counter_rng
from trainer.methods.skelemix import Region, draw_region, mix
from trainer.models.encoder import STRIDE

FRAMES = 64
"""T of the presets."""
REGION_SEED, DRAWS = 16, 10_000
"""Seed of the region that is shown, and the number of regions that are counted."""


def clips() -> torch.Tensor:
    """Return clips A (squatting) and B (moving both arms): (2, C, T, V, 1) metres, chest at the origin in frame 0."""
    people = [actor(SQUATTING, 22, frames=FRAMES), actor(BOTH_ARMS, 21, frames=FRAMES)]
    placed = [xyz - xyz[0, KINECT_V2.centre] for xyz in people]
    return torch.from_numpy(np.stack(placed)).permute(0, 3, 1, 2)[..., None].contiguous()


def region() -> Region:
    """Return the region of the pictures, drawn as in a training step of a preset."""
    drawn = draw_region(KINECT_V2, MixConfig(), 2, FRAMES // STRIDE, np.random.default_rng(REGION_SEED))
    assert isinstance(drawn, Region)
    return drawn


def film(axes: Axes, clip: torch.Tensor, owner: NDArray[np.bool_], colours: tuple[str, str], title: str) -> None:
    """Draw poses of a clip (C, T, V, 1), each joint in the colour of the clip it comes from (T, V)."""
    apart = 1.25
    shown = np.arange(3, FRAMES, 8)
    lines: dict[str, list[NDArray[np.float32]]] = {}
    for place, t in enumerate(shown):
        pose = clip[:2, t, :, 0].numpy().T * [-1, 1] + [place * apart, 0]  # x is to the left
        for joint, parent in BONES:
            same = owner[t, joint] == owner[t, parent]
            bone = [pose[joint], pose[parent], np.full(2, np.nan)]
            lines.setdefault(colours[int(owner[t, joint])] if same else GREY, []).extend(bone)
    for colour, points in lines.items():
        how = {"linewidth": 1.2, "linestyle": ":"} if colour == GREY else {"linewidth": 2.4}
        axes.plot(*np.array(points).T, color=colour, solid_capstyle="round", **how)
    axes.set_xticks(np.arange(len(shown)) * apart, [str(t + 1) for t in shown])
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_aspect("equal", adjustable="box")
    axes.set(xlim=(-0.75, (len(shown) - 1) * apart + 0.85), ylim=(-1.5, 0.72))
    axes.set_title(title)


def mixed() -> Figure:
    """Two clips, and the first one with joints of the second in some frames."""
    both, pasted = clips(), region()
    made, mask, _ = mix(both, pasted, STRIDE)
    whose = mask.numpy().repeat(STRIDE, axis=0)
    figure, rows = panels(3, rows=True, size=(7.2, 5.6))
    nobody = np.zeros_like(whose)
    first, last = pasted.start * STRIDE + 1, (pasted.start + pasted.frames) * STRIDE
    named = [part for part, joints in KINECT_V2.parts.items() if set(joints) <= set(pasted.joints)]
    words = ", ".join(part.replace("_", " ") for part in named)
    film(rows[0], both[0], nobody, (BLUE, ORANGE), "A, the host")
    film(rows[1], both[1], ~nobody, (BLUE, ORANGE), "B, the partner")
    film(rows[2], made[0], whose, (BLUE, ORANGE), f"mixed: B's {words} in frames {first} to {last} of {FRAMES}")
    rows[2].set_xlabel("frame")
    return figure


def cells() -> Figure:
    """The feature map of the mixed clip, coloured by source clip, and the share of pasted cells over many regions."""
    mask = region().mask(FRAMES // STRIDE, len(KINECT_V2.joints)).numpy()
    order = [joint for joints in KINECT_V2.parts.values() for joint in joints]
    figure, (grid, share) = panels(2, size=(7.2, 3.6), width_ratios=(1.5, 1))
    frames_out, joints = mask.shape
    grid.broken_barh([(0, frames_out)], (0, joints), color=BLUE)
    for row, joint in enumerate(order):
        grid.broken_barh([(start, stop - start) for start, stop in runs(mask[:, joint])], (row, 1), color=ORANGE)
    grid.vlines(range(1, frames_out), 0, joints, color="white", linewidth=0.8)
    grid.hlines(range(1, joints), 0, frames_out, color="white", linewidth=0.8)
    grid.set(xlim=(0, frames_out), ylim=(joints, 0))
    edges = np.cumsum([0, *(len(joints) for joints in KINECT_V2.parts.values())])
    names = [part.replace("_", " ") for part in KINECT_V2.parts]
    grid.set_yticks((edges[:-1] + edges[1:]) / 2, names)
    grid.tick_params(axis="y", length=0)
    for edge in edges[1:-1]:
        grid.axhline(edge, color="white", linewidth=3)
    grid.set_xticks(np.arange(0, 17, 4), [str(cell * STRIDE) for cell in range(0, 17, 4)])
    grid.set(title="blue: truncated, A's key; orange: trimmed, B's", xlabel="frames, four in a cell")
    rng = np.random.default_rng(0)
    areas = []
    for _ in range(DRAWS):
        drawn = draw_region(KINECT_V2, MixConfig(), 128, FRAMES // STRIDE, rng)
        assert isinstance(drawn, Region)
        areas.append(100 * len(drawn.joints) * drawn.frames / mask.size)
    share.hist(areas, bins=np.arange(12, 50, 2), color=ORANGE, edgecolor="white", linewidth=0.6)
    share.axvline(np.mean(areas), color=BLACK, linewidth=1)
    share.set(title=f"pasted cells: {np.mean(areas):.0f} % on average", xlabel="% of the feature map", yticks=[])
    share.spines["left"].set_visible(False)
    return figure


def views() -> Figure:
    """One clip, and two augmented views of it."""
    clip = clips()[1:]
    config = AugmentConfig()
    seen = [
        augment.random_view(clip, counter_rng.uniform(0, 0, torch.tensor([3]), view, augment.DRAWS_PER_VIEW), config)
        for view in range(2)
    ]
    figure, rows = panels(3, rows=True, size=(7.2, 5.6))
    nobody = np.zeros((FRAMES, len(KINECT_V2.joints)), bool)
    for axes, shown, colour, title in zip(
        rows, [clip, *seen], (BLACK, BLUE, GREEN), ("the clip", "its query view", "its key view"), strict=True
    ):
        film(axes, shown[0], nobody, (colour, colour), title)
    rows[2].set_xlabel("frame")
    return figure


PICTURES: Mapping[str, Callable[[], Figure]] = {"views": views, "mix": mixed, "cells": cells}


def draw_all(folder: Path) -> list[Path]:
    """Draw all pictures into a folder; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    for name, picture in PICTURES.items():
        path = folder / f"method-{name}.svg"
        with mpl.rc_context(STYLE):
            picture().savefig(path, metadata={"Date": None})
        path.write_text(rounded(path.read_text(encoding="utf-8")), encoding="utf-8", newline="\n")
        drawn.append(path)
    return drawn


if __name__ == "__main__":
    for path in draw_all(Path(sys.argv[1]) if len(sys.argv) > 1 else IMAGES):
        print(f"{path} {path.stat().st_size / 1000:.0f} kB")
