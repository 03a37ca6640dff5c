"""The charts of reports; each function returns an SVG."""

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
from pipeline.report.svg import HOVER, SENTINELS, SMALL, Role, render_svg

BAR_PIXELS = 22
"""Height of a horizontal bar."""
MAX_NAME_CHARACTERS = 30
"""Maximum length of a name at an axis."""
MAX_NUMBERED_CLASSES = 12
"""Maximum number of classes of a confusion matrix with numbers in its cells."""
MAX_NAMED_CLASSES = 20
"""Maximum number of classes of a confusion matrix with class names at its axes; above, they show ids."""
MAX_POINTS = 500
"""Maximum number of points of a curve, more than a chart of 480 pixels can show; further points are averaged."""


MAX_HOVER_POINTS = 40
"""Points of a curve that show their value on hover."""
MAX_HOVER_CELLS = 400
"""Cells of a confusion matrix that show their value on hover, those with the most clips first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """One line of a chart."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    role: Role = "accent"
    dashed: bool = False
    marked: bool = False
    """Draw a dot at each point."""


def bars(
    title: str,
    names: Sequence[str],
    values: Sequence[float],
    *,
    unit: str,
    category: str,
    roles: Sequence[Role] = (),
    intervals: Sequence[tuple[float, float] | None] = (),
    labelled: bool = False,
) -> str:
    """Plot horizontal bars, the first one at the top.

    Args:
        title: the title, also for screen readers.
        names: names of the bars.
        values: lengths of the bars, from 0.
        unit: label of the value axis.
        category: label of the axis of the bars.
        roles: the colour of each bar, if not all have the default.
        intervals: an interval for each value, plotted over its bar, or None.
        labelled: write each value at the end of its bar.
    """

    def plot(axes: Axes) -> None:
        positions = np.arange(len(values))
        colours = [SENTINELS[role] for role in roles] or SENTINELS["accent"]
        drawn = axes.barh(positions, values, height=0.72, color=colours)
        for patch, name, value in zip(drawn, names, values, strict=True):
            patch.set_gid(f"{HOVER}{one_line(name)}: {value:,.4g} {unit}")
        for position, interval in enumerate(intervals):
            if interval:
                axes.plot(
                    interval, [position, position], color=SENTINELS["ink"], linewidth=1.3, marker="|", markersize=7
                )
        ends = [
            max([value, *(interval or ())])
            for value, interval in zip(values, intervals or [None] * len(values), strict=True)
        ]
        for row, (value, end) in enumerate(zip(values, ends, strict=True)):
            if labelled:
                axes.annotate(
                    f"{value:.1f}", (end, row), xytext=(6, 0), textcoords="offset points", va="center",
                    color=SENTINELS["ink"], fontsize=SMALL,
                )  # fmt: skip
        axes.set_yticks(positions, [_short(name) for name in names], fontsize=SMALL)
        axes.set_ylim(len(values) - 0.4, -0.6)
        axes.set_xlim(0, (1.12 if labelled else 1) * _top(ends))
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel(unit)
        axes.set_ylabel(category)

    description = ", ".join(f"{name} {value:,.4g}" for name, value in zip(names, values, strict=True))
    numbers: list[Sequence[object]] = [[category, unit], *zip(names, values, strict=True)]
    if any(intervals):
        numbers = [[category, unit, "low", "high"]]
        numbers += [[n, v, *(i or ("", ""))] for n, v, i in zip(names, values, intervals, strict=True)]
    height = 60 + BAR_PIXELS * len(values)
    return render_svg(title, f"{unit} by {category}: {description}", plot, numbers, height=height)


def columns(title: str, names: Sequence[str], values: Sequence[float], *, unit: str, category: str) -> str:
    """Plot vertical bars with short names or numbers; if there are many, only some are labelled."""

    def plot(axes: Axes) -> None:
        drawn = axes.bar(np.arange(len(values)), values, width=0.75, color=SENTINELS["accent"])
        for patch, name, value in zip(drawn, names, values, strict=True):
            patch.set_gid(f"{HOVER}{one_line(name)}: {value:,.4g} {unit}")
        step = max(1, -(-len(names) // 20))
        ticks = range(0, len(names), step)
        axes.set_xticks(ticks, [_short(names[tick]) for tick in ticks])
        margin = max(0, 6 - len(values)) / 2  # keeps a few bars from filling the whole width
        axes.set_xlim(-0.7 - margin, len(values) - 0.3 + margin)
        axes.set_ylim(0, _top(values))
        axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.grid(visible=False, axis="x")
        axes.set_xlabel(category)
        axes.set_ylabel(unit)

    description = f"{len(values)} bars from {min(values, default=0):,.4g} to {max(values, default=0):,.4g}"
    numbers: list[Sequence[object]] = [[category, unit], *zip(names, values, strict=True)]
    return render_svg(title, f"{unit} by {category}: {description}", plot, numbers)


def histogram(title: str, values: NDArray[np.number], *, unit: str, category: str, bins: int = 32) -> str:
    """Plot a histogram with the median marked."""

    def plot(axes: Axes) -> None:
        low, high = float(values.min()), float(values.max())
        edges = np.linspace(low, high if high > low else low + 1, bins + 1).tolist()
        axes.hist(values, edges, color=SENTINELS["accent"])
        median = float(np.median(values))
        axes.axvline(median, color=SENTINELS["second"], linestyle="--", linewidth=1.4)
        alignment, shift = ("right", -5) if median > (low + high) / 2 else ("left", 5)
        axes.annotate(
            f"median {median:.4g}", (median, 1), xycoords=("data", "axes fraction"), xytext=(shift, -10),
            textcoords="offset points", ha=alignment, color=SENTINELS["ink"], fontsize=SMALL,
        )  # fmt: skip
        axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.set_xlabel(unit)
        axes.set_ylabel(category)

    description = f"from {values.min():g} to {values.max():g}, median {np.median(values):.4g}"
    return render_svg(title, f"Distribution of {unit}: {description}", plot, [[unit], *([v] for v in values.tolist())])


def curves(
    title: str, lines: Sequence[Curve], *, x: str, y: str, from_zero: bool = False, baseline: float | None = None
) -> str:
    """Plot lines, with a legend if there are several.

    Args:
        title: as for `bars`.
        lines: the lines.
        x: label of the x axis, with unit.
        y: label of the y axis, with unit.
        from_zero: start the y axis at zero.
        baseline: a level to plot as a thin line, such as chance level.
    """

    def plot(axes: Axes) -> None:
        for line in lines:
            xs, ys = _thinned(line.x, line.y)
            axes.plot(
                xs, ys, color=SENTINELS[line.role], label=_short(line.name), linestyle="--" if line.dashed else "-",
                marker="o" if line.marked or len(xs) == 1 else None, markersize=3.5,
            )  # fmt: skip
            for px, py in _hover_points(xs, ys):
                axes.plot(
                    [px],
                    [py],
                    "o",
                    alpha=0,
                    markersize=9,
                    gid=f"{HOVER}{_short(line.name)}: {py:,.4g} at {x} {px:,.4g}",
                )
        if baseline is not None:
            axes.axhline(baseline, color=SENTINELS["faint"], linestyle=":", linewidth=1.2)
        if from_zero:
            axes.set_ylim(0, _top([float(np.max(line.y)) for line in lines]))
        if len(lines) > 1:
            axes.figure.legend(loc="outside upper left", ncols=2 if max(len(line.name) for line in lines) > 16 else 4)
        axes.set_xlabel(x)
        axes.set_ylabel(y)

    description = "; ".join(f"{line.name} from {line.y[0]:.4g} to {line.y[-1]:.4g}" for line in lines if len(line.y))
    numbers: list[Sequence[object]] = [["line", x, y]]
    numbers += [[line.name, at, value] for line in lines for at, value in zip(line.x, line.y, strict=True)]
    return render_svg(title, f"{y} over {x}: {description}", plot, numbers)


def confusion(title: str, counts: NDArray[np.int64], names: Sequence[str], ids: Sequence[int]) -> str:
    """Plot a confusion matrix: a stronger colour means a larger share of the true class (row).

    Correct and wrong predictions have different colours. With few classes, names and counts are shown; with many, ids.

    Args:
        title: as for `bars`.
        counts: (C, C) clips; rows are true classes, columns predicted classes.
        names: C class names.
        ids: C class ids of the data set.
    """
    count = len(counts)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    size = max(420, min(640, 190 + 30 * count)) if count <= MAX_NAMED_CLASSES else 640

    def plot(axes: Axes) -> None:
        # The square root keeps small shares visible without making them stand out.
        levels = np.ceil(10 * np.sqrt(shares)).astype(int)
        for level in range(1, 11):
            for right, role in ((True, SENTINELS["accent"]), (False, SENTINELS["bad"])):
                rows, predicted = np.nonzero((levels == level) & (np.eye(count, dtype=bool) == right))
                if len(rows):
                    axes.add_patch(
                        PathPatch(_squares(predicted, rows), facecolor=role, alpha=0.05 + 0.095 * level, linewidth=0)
                    )
        if count <= MAX_NUMBERED_CLASSES:
            for row, column in zip(*np.nonzero(counts), strict=True):
                shade = SENTINELS["paper" if shares[row, column] > 0.55 else "ink"]
                axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=shade, fontsize=SMALL)
        for row, column in _largest_cells(counts):
            about = (
                f"{one_line(names[row] or str(ids[row]))}, predicted as {one_line(names[column] or str(ids[column]))}"
            )
            unit = "clip" if counts[row, column] == 1 else "clips"
            clips = f"{counts[row, column]:,} {unit}, {100 * shares[row, column]:.0f} %"
            axes.add_patch(
                PathPatch(
                    _squares(np.array([column]), np.array([row])), alpha=0, linewidth=0, gid=f"{HOVER}{about}: {clips}"
                )
            )
        axes.set_xlim(-0.5, count - 0.5)
        axes.set_ylim(count - 0.5, -0.5)
        axes.set_aspect("equal")
        axes.grid(visible=False)
        for side in ("top", "right"):
            axes.spines[side].set_visible(True)
        step = 1 if count <= MAX_NAMED_CLASSES else 5
        ticks = range(0, count, step)
        labels = [
            _short(names[tick] or str(ids[tick]), 18) if count <= MAX_NAMED_CLASSES else str(ids[tick])
            for tick in ticks
        ]
        axes.set_xticks(ticks, labels, rotation=90 if count <= MAX_NAMED_CLASSES or count > 60 else 0, fontsize=SMALL)
        axes.set_yticks(ticks, labels, fontsize=SMALL)
        axes.set_xlabel("predicted class" if count <= MAX_NAMED_CLASSES else "predicted class, by id")
        axes.set_ylabel("true class" if count <= MAX_NAMED_CLASSES else "true class, by id")

    right = int(np.trace(counts))
    description = f"{count} classes, {right} of {int(counts.sum())} clips on the diagonal (correct)"
    labels = [name or str(number) for name, number in zip(names, ids, strict=True)]
    numbers = [["true class", *labels], *([label, *row] for label, row in zip(labels, counts.tolist(), strict=True))]
    return render_svg(title, description, plot, numbers, width=size, height=size)


def scatter(title: str, points: NDArray[np.floating], groups: NDArray[np.integer], names: Sequence[str]) -> str:
    """Plot points in a plane with colour and shape by group, and each group's name at its median; axes have no unit.

    The axes show the 2nd to the 98th percentile, so that a few distant points do not squeeze the others.

    Args:
        title: as for `bars`.
        points: (N, 2).
        groups: (N,) indices into `names`; -1 is plotted faintly.
        names: the label of each group.
    """
    shapes = "os^Dv"

    def plot(axes: Axes) -> None:
        unknown = points[groups < 0]
        if len(unknown):
            axes.scatter(unknown[:, 0], unknown[:, 1], s=9, color=SENTINELS["faint"], alpha=0.6, linewidths=0)
        size = 42 if len(points) < 400 else 18
        for group in range(len(names)):
            own = points[groups == group]
            if len(own):
                shape = shapes[group % len(shapes)]
                axes.scatter(
                    own[:, 0], own[:, 1], s=size, marker=shape, color=hue(group, len(names)), alpha=0.8, linewidths=0
                )
        for group, name in enumerate(names):
            own = points[groups == group]
            if len(own):
                x, y = np.median(own, axis=0)
                axes.text(
                    x, y, _short(name, 22), ha="center", va="center", fontsize=SMALL, fontweight="bold", gid="label"
                )
        if len(points):
            low, high = np.percentile(points, (2, 98), axis=0)
            margin = 0.08 * (high - low) + 1e-9
            axes.set_xlim(low[0] - margin[0], high[0] + margin[0])
            axes.set_ylim(low[1] - margin[1], high[1] + margin[1])
        axes.set_xticks([])
        axes.set_yticks([])
        for side in ("top", "right"):
            axes.spines[side].set_visible(True)

    labels = [names[group] if group >= 0 else "" for group in groups.tolist()]
    numbers = [["x", "y", "group"], *([*point, label] for point, label in zip(points.tolist(), labels, strict=True))]
    return render_svg(title, f"{len(points)} points in {len(names)} groups", plot, numbers, width=760, height=560)


def hue(index: int, count: int) -> str:
    """Return a distinct colour for each of `count` groups, visible on white and on black."""
    red, green, blue = colorsys.hls_to_rgb((index * 0.618034) % 1 if count > 12 else index / max(count, 1), 0.5, 0.62)
    return f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}"


def _largest_cells(counts: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Return row and column of the cells with the most clips, at most MAX_HOVER_CELLS."""
    order = np.argsort(-counts, axis=None, kind="stable")[:MAX_HOVER_CELLS]
    return [
        (int(row), int(column))
        for row, column in zip(*np.unravel_index(order, counts.shape), strict=True)
        if counts[row, column]
    ]


def _squares(columns: NDArray[np.int64], rows: NDArray[np.int64]) -> Path:
    """Return one path of the cells at these columns and rows."""
    corners = np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5), (-0.5, -0.5)])
    vertices = (np.stack([columns, rows], axis=1)[:, None] + corners).reshape(-1, 2)
    codes = [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY] * len(rows)
    return Path(vertices, codes)


def _thinned(x: Sequence[float], y: Sequence[float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Reduce a curve to MAX_POINTS points, the means of consecutive points."""
    xs, ys = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if len(xs) <= MAX_POINTS:
        return xs, ys
    chunks = np.array_split(np.arange(len(xs)), MAX_POINTS)
    return np.array([xs[chunk].mean() for chunk in chunks]), np.array([ys[chunk].mean() for chunk in chunks])


def _hover_points(x: NDArray[np.float64], y: NDArray[np.float64]) -> list[tuple[float, float]]:
    """Choose evenly spaced points of a curve whose values are shown on hover."""
    chosen = np.unique(np.linspace(0, len(x) - 1, min(len(x), MAX_HOVER_POINTS)).round().astype(int))
    return [(float(x[index]), float(y[index])) for index in chosen]


def _top(values: Sequence[float]) -> float:
    return 1.05 * max([*values, 1e-9])


def _short(name: str, max_characters: int = MAX_NAME_CHARACTERS) -> str:
    plain = one_line(name)
    return plain if len(plain) <= max_characters else f"{plain[: max_characters - 1].rstrip()}…"
