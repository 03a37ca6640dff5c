"""The bar charts, histograms and curves of reports; each function returns a chart for a page."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from pipeline.errors import one_line
from pipeline.report.svg import HOVER, NARROW, SENTINELS, SMALL, WIDTH, Role, SvgChart, render_svg, shorten, width_of

BAR_PIXELS = 22
"""Height of a horizontal bar."""
MAX_POINTS = 500
"""Maximum number of points of a curve; further points are averaged."""
MAX_HOVER_POINTS = 40
"""Points of a curve that show their value on hover."""


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
    width: int = WIDTH,
) -> SvgChart:
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
        width: of the chart, pixels.
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
        longest = 22 if width_of(axes) <= NARROW else 30 if width_of(axes) <= WIDTH else 48
        axes.set_yticks(positions, [shorten(name, longest) for name in names], fontsize=SMALL)
        axes.set_ylim(len(values) - 0.4, -0.6)
        label_room = 44 / (0.55 * width_of(axes)) if labelled else 0
        axes.set_xlim(0, (1 + label_room) * _top(ends))
        axes.xaxis.set_major_locator(MaxNLocator(max(3, round(width_of(axes) / 90))))
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
    return render_svg(title, f"{unit} by {category}: {description}", plot, numbers, width, height)


def columns(title: str, names: Sequence[str], values: Sequence[float], *, unit: str, category: str) -> SvgChart:
    """Plot vertical bars with short names or numbers; if there are many, only some are labelled."""

    def plot(axes: Axes) -> None:
        drawn = axes.bar(np.arange(len(values)), values, width=0.75, color=SENTINELS["accent"])
        for patch, name, value in zip(drawn, names, values, strict=True):
            patch.set_gid(f"{HOVER}{one_line(name)}: {value:,.4g} {unit}")
        step = max(1, -(-len(names) // round(width_of(axes) / 30)))
        ticks = range(0, len(names), step)
        axes.set_xticks(ticks, [shorten(names[tick]) for tick in ticks])
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


def histogram(title: str, values: NDArray[np.number], *, unit: str, category: str, bins: int = 32) -> SvgChart:
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
    title: str,
    lines: Sequence[Curve],
    *,
    x: str,
    y: str,
    from_zero: bool = False,
    baseline: float | None = None,
    width: int = WIDTH,
) -> SvgChart:
    """Plot lines, with a legend if there are several.

    Args:
        title: as for `bars`.
        lines: the lines.
        x: label of the x axis, with unit.
        y: label of the y axis, with unit.
        from_zero: start the y axis at zero.
        baseline: a level to plot as a thin line, such as chance level.
        width: of the chart, pixels.
    """

    def plot(axes: Axes) -> None:
        for line in lines:
            xs, ys = _thinned(line.x, line.y)
            axes.plot(
                xs, ys, color=SENTINELS[line.role], label=shorten(line.name), linestyle="--" if line.dashed else "-",
                marker="o" if line.marked or len(xs) == 1 else None, markersize=3.5,
            )  # fmt: skip
            for px, py in _hover_points(xs, ys):
                text = f"{shorten(line.name)}: {py:,.4g} at {x} {px:,.4g}"
                axes.plot([px], [py], "o", alpha=0, markersize=9, gid=f"{HOVER}{text}")
        if baseline is not None:
            axes.axhline(baseline, color=SENTINELS["faint"], linestyle=":", linewidth=1.2)
        if from_zero:
            axes.set_ylim(0, _top([float(np.max(line.y)) for line in lines]))
        if len(lines) > 1:
            longest = max(len(shorten(line.name)) for line in lines)
            axes.figure.legend(loc="outside upper left", ncols=max(1, int(width_of(axes) / (60 + 8 * longest))))
        axes.set_xlabel(x)
        axes.set_ylabel(y)

    description = "; ".join(f"{line.name} from {line.y[0]:.4g} to {line.y[-1]:.4g}" for line in lines if len(line.y))
    numbers: list[Sequence[object]] = [["line", x, y]]
    numbers += [[line.name, at, value] for line in lines for at, value in zip(line.x, line.y, strict=True)]
    return render_svg(title, f"{y} over {x}: {description}", plot, numbers, width)


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
