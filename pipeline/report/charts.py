"""The charts of pages, each by one function that gives its SVG."""

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from pipeline.errors import one_line
from pipeline.report.svg import SENTINELS, Role, drawn

ROW = 16
"""Pixels of a horizontal bar."""
LONGEST = 30
"""Characters of a name that stands at an axis."""
NUMBERED = 12
"""Classes up to which the cells of a confusion hold their numbers."""
NAMED = 20
"""Classes up to which a confusion's axes have names; beyond, ids."""
POINTS = 500
"""Of a curve: more are averaged in stretches, which a chart of 480 pixels cannot show anyway."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """One line of a chart."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    role: Role = "accent"
    dashed: bool = False
    marked: bool = False
    """Each point has a dot: there are few."""


def bars(
    title: str,
    names: Sequence[str],
    values: Sequence[float],
    *,
    unit: str,
    of: str,
    roles: Sequence[Role] = (),
    intervals: Sequence[tuple[float, float] | None] = (),
) -> str:
    """Horizontal bars, the first on top.

    Args:
        title: of the chart, for readers who do not see it.
        names: of the bars.
        values: their lengths, from 0.
        unit: what the lengths are, at the axis.
        of: what the bars are, at the other.
        roles: the colour of each, when not all have the usual one.
        intervals: where each value may lie, drawn over its bar; None for one that has none.
    """

    def draw(axes: Axes) -> None:
        places = np.arange(len(values))
        axes.barh(places, values, height=0.72, color=[SENTINELS[role] for role in roles] or SENTINELS["accent"])
        for place, interval in enumerate(intervals):
            if interval:
                axes.plot(interval, [place, place], color=SENTINELS["ink"], linewidth=1.3, marker="|", markersize=7)
        axes.set_yticks(places, [_short(name) for name in names], fontsize=9)
        axes.set_ylim(len(values) - 0.4, -0.6)
        axes.set_xlim(0, _top([*values, *(interval[1] for interval in intervals if interval)]))
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel(unit)
        axes.set_ylabel(of)

    said = ", ".join(f"{name} {value:,.4g}" for name, value in zip(names, values, strict=True))
    return drawn(title, f"{unit} by {of}: {said}", draw, height=60 + ROW * len(values))


def columns(title: str, names: Sequence[str], values: Sequence[float], *, unit: str, of: str) -> str:
    """Upright bars in the order of their names, which are numbers or short; of many, some are named."""

    def draw(axes: Axes) -> None:
        axes.bar(np.arange(len(values)), values, width=0.75, color=SENTINELS["accent"])
        step = max(1, -(-len(names) // 20))
        places = range(0, len(names), step)
        axes.set_xticks(places, [_short(names[place]) for place in places])
        spare = max(0, 6 - len(values)) / 2  # a few bars need not be as wide as the chart
        axes.set_xlim(-0.7 - spare, len(values) - 0.3 + spare)
        axes.set_ylim(0, _top(values))
        axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.grid(visible=False, axis="x")
        axes.set_xlabel(of)
        axes.set_ylabel(unit)

    some = f"{len(values)} bars from {min(values, default=0):,.4g} to {max(values, default=0):,.4g}"
    return drawn(title, f"{unit} by {of}: {some}", draw)


def histogram(title: str, values: NDArray[np.number], *, unit: str, of: str, bins: int = 32) -> str:
    """How often values of each size occur, with the median marked."""

    def draw(axes: Axes) -> None:
        least, most = float(values.min()), float(values.max())
        edges = np.linspace(least, most if most > least else least + 1, bins + 1).tolist()
        axes.hist(values, edges, color=SENTINELS["accent"])
        middle = float(np.median(values))
        axes.axvline(middle, color=SENTINELS["second"], linestyle="--", linewidth=1.4)
        side, shift = ("right", -5) if middle > (least + most) / 2 else ("left", 5)
        axes.annotate(
            f"median {middle:g}", (middle, 1), xycoords=("data", "axes fraction"), xytext=(shift, -10),
            textcoords="offset points", ha=side, color=SENTINELS["ink"], fontsize=9,
        )  # fmt: skip
        axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.set_xlabel(unit)
        axes.set_ylabel(of)

    told = f"from {values.min():g} to {values.max():g}, median {np.median(values):g}"
    return drawn(title, f"Distribution of {unit}: {told}", draw)


def curves(
    title: str, lines: Sequence[Curve], *, x: str, y: str, from_zero: bool = False, least: float | None = None
) -> str:
    """Lines over one another; a legend when there are several.

    Args:
        title: as `bars`.
        lines: what is drawn.
        x: what the lines run over, with its unit.
        y: what they are, with its unit.
        from_zero: the axis begins at zero.
        least: a level to be drawn as a thin line, such as what chance gives.
    """

    def draw(axes: Axes) -> None:
        for line in lines:
            xs, ys = _thinned(line.x, line.y)
            axes.plot(
                xs, ys, color=SENTINELS[line.role], label=_short(line.name), linestyle="--" if line.dashed else "-",
                marker="o" if line.marked or len(xs) == 1 else None, markersize=3.5,
            )  # fmt: skip
        if least is not None:
            axes.axhline(least, color=SENTINELS["faint"], linestyle=":", linewidth=1.2)
        if from_zero:
            axes.set_ylim(0, _top([float(np.max(line.y)) for line in lines]))
        if len(lines) > 1:
            axes.figure.legend(loc="outside upper left", ncols=2 if max(len(line.name) for line in lines) > 16 else 4)
        axes.set_xlabel(x)
        axes.set_ylabel(y)

    told = "; ".join(f"{line.name} from {line.y[0]:.4g} to {line.y[-1]:.4g}" for line in lines if len(line.y))
    return drawn(title, f"{y} over {x}: {told}", draw)


def confusion(title: str, counts: NDArray[np.int64], names: Sequence[str], ids: Sequence[int]) -> str:
    """Which class is said for which: rows are true, the stronger the colour the larger the share of the row.

    Right answers have one colour, wrong ones another. Few classes have their names and counts, many their ids.

    Args:
        title: as `bars`.
        counts: (C, C) clips, rows true, columns said.
        names: C names.
        ids: C ids of the data set.
    """
    count = len(counts)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    size = max(380, min(560, 150 + 26 * count)) if count <= NAMED else 560

    def draw(axes: Axes) -> None:
        levels = np.ceil(10 * np.sqrt(shares)).astype(int)  # so that one clip of many is seen, and shouts not
        for level in range(1, 11):
            for right, role in ((True, SENTINELS["accent"]), (False, SENTINELS["bad"])):
                rows, said = np.nonzero((levels == level) & (np.eye(count, dtype=bool) == right))
                if len(rows):
                    axes.add_patch(
                        PathPatch(_squares(said, rows), facecolor=role, alpha=0.05 + 0.095 * level, linewidth=0)
                    )
        if count <= NUMBERED:
            for row, column in zip(*np.nonzero(counts), strict=True):
                shade = SENTINELS["paper" if shares[row, column] > 0.55 else "ink"]
                axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=shade, fontsize=9)
        axes.set_xlim(-0.5, count - 0.5)
        axes.set_ylim(count - 0.5, -0.5)
        axes.set_aspect("equal")
        axes.grid(visible=False)
        for side in ("top", "right"):
            axes.spines[side].set_visible(True)
        step = 1 if count <= NAMED else 5
        places = range(0, count, step)
        labels = [
            _short(names[place] or str(ids[place]), 18) if count <= NAMED else str(ids[place]) for place in places
        ]
        axes.set_xticks(places, labels, rotation=90 if count <= NAMED or count > 60 else 0, fontsize=9)
        axes.set_yticks(places, labels, fontsize=9)
        axes.set_xlabel("class said" if count <= NAMED else "class said, by id")
        axes.set_ylabel("true class" if count <= NAMED else "true class, by id")

    right = int(np.trace(counts))
    told = f"{count} classes, {right} of {int(counts.sum())} clips on the diagonal, that is right"
    return drawn(title, told, draw, width=size, height=size)


def scatter(title: str, points: NDArray[np.floating], groups: NDArray[np.integer], names: Sequence[str]) -> str:
    """Points in a plane, coloured and shaped by group, each group's number at its middle; axes mean nothing.

    Args:
        title: as `bars`.
        points: (N, 2).
        groups: (N,) places in `names`; -1 is drawn faintly.
        names: what stands at the middle of each group.
    """
    shapes = "os^Dv"

    def draw(axes: Axes) -> None:
        unknown = points[groups < 0]
        if len(unknown):
            axes.scatter(unknown[:, 0], unknown[:, 1], s=9, color=SENTINELS["faint"], alpha=0.6, linewidths=0)
        size = 18 if len(points) < 400 else 9
        for place in range(len(names)):
            own = points[groups == place]
            if len(own):
                shape = shapes[place % len(shapes)]
                axes.scatter(
                    own[:, 0], own[:, 1], s=size, marker=shape, color=hue(place, len(names)), alpha=0.8, linewidths=0
                )
        for place, name in enumerate(names):
            own = points[groups == place]
            if len(own):
                x, y = np.median(own, axis=0)
                axes.text(x, y, _short(name, 12), ha="center", va="center", fontsize=9, fontweight="bold", gid="label")
        axes.set_xticks([])
        axes.set_yticks([])
        for side in ("top", "right"):
            axes.spines[side].set_visible(True)

    return drawn(title, f"{len(points)} points in {len(names)} groups", draw, width=560, height=460)


def hue(place: int, count: int) -> str:
    """A colour of its own for each of `count` groups, of a lightness that is seen on white and on black."""
    red, green, blue = colorsys.hls_to_rgb((place * 0.618034) % 1 if count > 12 else place / max(count, 1), 0.5, 0.62)
    return f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}"


def _squares(columns: NDArray[np.int64], rows: NDArray[np.int64]) -> Path:
    """One path of all cells at these places."""
    corners = np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5), (-0.5, -0.5)])
    vertices = (np.stack([columns, rows], axis=1)[:, None] + corners).reshape(-1, 2)
    codes = [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY] * len(rows)
    return Path(vertices, codes)


def _thinned(x: Sequence[float], y: Sequence[float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """At most POINTS points: means of stretches."""
    xs, ys = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if len(xs) <= POINTS:
        return xs, ys
    parts = np.array_split(np.arange(len(xs)), POINTS)
    return np.array([xs[part].mean() for part in parts]), np.array([ys[part].mean() for part in parts])


def _top(values: Sequence[float]) -> float:
    return 1.05 * max([*values, 1e-9])


def _short(name: str, longest: int = LONGEST) -> str:
    plain = one_line(name)
    return plain if len(plain) <= longest else f"{plain[: longest - 1].rstrip()}…"
