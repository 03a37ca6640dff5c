"""A scatter plot of reports: points in a plane, coloured and labelled by group."""

import colorsys
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from pipeline.errors import one_line
from pipeline.report.svg import HOVER_EACH, NARROW, SENTINELS, SMALL, WIDE, SvgChart, render_svg, shorten, size_of

SHAPES = "os^Dv"
LABEL_CHARACTERS = 22
CHARACTER_PIXELS, LINE_PIXELS = 7.6, 17
"""Size of a label's text: width of a character, height."""
DENSE_NEIGHBOURS = 5
"""A group is dense at a point whose fifth nearest point of the group is near."""

Points = NDArray[np.floating]


def draw_scatter_plot(
    title: str, points: Points, groups: NDArray[np.integer], labels: Sequence[str], names: Sequence[str]
) -> SvgChart:
    """Plot points in a plane with colour and shape by group; axes have no unit.

    A group's label (on a phone, its first word) is where the group is dense and where it covers no other label. The
    axes show the 2nd to the 98th percentile, so that a few distant points do not squeeze the others.

    Args:
        title: the title, also for screen readers.
        points: (N, 2).
        groups: (N,) indices into `labels`; -1 is plotted faintly.
        labels: the label of each group.
        names: (N,) name of each point, shown on hover.
    """
    low, high = np.percentile(points, (2, 98), axis=0) if len(points) else (np.zeros(2), np.ones(2))
    margin = 0.08 * (high - low) + 1e-9
    low, high = low - margin, high + margin
    shown = np.flatnonzero(((points >= low) & (points <= high)).all(axis=1))

    def plot(axes: Axes) -> None:
        size = 42 if len(points) < 400 else 18
        for group in range(-1, len(labels)):
            own = shown[groups[shown] == group]
            if not len(own):
                continue
            of_group = f" ({one_line(labels[group])})" if group >= 0 else ""
            hover = "\n".join(f"{one_line(names[index])}{of_group}" for index in own)
            marker, colour = "o", SENTINELS["faint"]
            if group >= 0:
                marker, colour = SHAPES[group % len(SHAPES)], hue(group, len(labels))
            axes.scatter(
                points[own, 0], points[own, 1], s=size if group >= 0 else 9, marker=marker, color=colour, alpha=0.8,
                linewidths=0, gid=f"{HOVER_EACH}{hover}",
            )  # fmt: skip
        pixels = size_of(axes) / (high - low)
        is_narrow = size_of(axes)[0] <= NARROW
        texts = [shorten(label.split(" ")[0] if is_narrow else label, LABEL_CHARACTERS) for label in labels]
        members = [points[shown[groups[shown] == group]] * pixels for group in range(len(labels))]
        for text, at in zip(texts, place_labels(members, texts), strict=True):
            if at is not None:
                x, y = at / pixels
                label = axes.text(x, y, text, ha="center", va="center", fontsize=SMALL, fontweight="bold", gid="label")
                label.set_in_layout(False)  # a label at the edge must not make the axes smaller
        axes.set_xlim(low[0], high[0])
        axes.set_ylim(low[1], high[1])
        axes.set_xticks([])
        axes.set_yticks([])
        for side in ("top", "right"):
            axes.spines[side].set_visible(True)

    of_points = [labels[group] if group >= 0 else "" for group in groups.tolist()]
    rows = zip(names, points.tolist(), of_points, strict=True)
    numbers: list[Sequence[object]] = [["name", "x", "y", "group"], *([name, *xy, label] for name, xy, label in rows)]
    about = f"{len(points)} points in {len(labels)} groups"
    return render_svg(title, about, plot, numbers, WIDE, 640, keeps_shape=True)


def place_labels(members: Sequence[Points], texts: Sequence[str]) -> list[Points | None]:
    """Choose a place for each group's label: the densest of the group's points where it covers no other label.

    Args:
        members: (n, 2) points of each group, in pixels.
        texts: the labels.

    Returns:
        The centre of each label, in pixels; the group's densest point if every place covers another label; None for
        a group without points.
    """
    placed: list[Points | None] = []
    boxes: list[tuple[Points, Points]] = []
    for own, text in zip(members, texts, strict=True):
        if not len(own):
            placed.append(None)
            continue
        distances = np.sort(np.linalg.norm(own[:, None] - own, axis=2), axis=1)
        ordered = own[np.argsort(distances[:, min(DENSE_NEIGHBOURS, len(own) - 1)], kind="stable")]
        half = np.array([CHARACTER_PIXELS * len(text), LINE_PIXELS]) / 2
        free = [at for at in ordered if all((abs(at - other) > half + size).any() for other, size in boxes)]
        at = free[0] if free else ordered[0]
        placed.append(at)
        boxes.append((at, half))
    return placed


def hue(index: int, count: int) -> str:
    """Return a distinct colour for each of `count` groups, visible on white and on black."""
    red, green, blue = colorsys.hls_to_rgb((index * 0.618034) % 1 if count > 12 else index / max(count, 1), 0.5, 0.62)
    return f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}"
