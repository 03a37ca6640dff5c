"""Charts for pages, as SVG text, by matplotlib.

Colours are sentinels that become `var(--ink)` and the like, so that a page's colour schemes reach charts by CSS alone.
The same values give the same bytes: no date, ids by hash, coordinates to a hundredth of a pixel.
"""

import colorsys
import html
import io
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from pipeline.errors import one_line

Role = Literal["ink", "paper", "faint", "line", "accent", "second", "good", "bad"]
SENTINELS: dict[Role, str] = {
    "ink": "#0a0b01",
    "paper": "#0a0b02",
    "faint": "#0a0b03",
    "line": "#0a0b04",
    "accent": "#0a0b05",
    "second": "#0a0b06",
    "good": "#0a0b07",
    "bad": "#0a0b08",
}
"""What is drawn with, and the CSS variable that it stands for; nothing else has these colours."""
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: it can be searched, and takes the page's font
    "font.family": "DejaVu Sans",  # comes with matplotlib, so that every machine lays out the same
    "font.size": 10,
    "text.parse_math": False,  # class names may hold dollars
    "text.color": SENTINELS["ink"],
    "axes.edgecolor": SENTINELS["line"],
    "axes.labelcolor": SENTINELS["ink"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": SENTINELS["line"],
    "grid.linewidth": 0.6,
    "xtick.color": SENTINELS["line"],
    "ytick.color": SENTINELS["line"],
    "xtick.labelcolor": SENTINELS["ink"],
    "ytick.labelcolor": SENTINELS["ink"],
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "lines.linewidth": 1.7,
    "figure.constrained_layout.use": True,
}
WIDTH, HEIGHT = 480, 270
"""Pixels of a usual chart: on a phone of 390 it shrinks by a fifth, and stays readable."""
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
    return _chart(title, f"{unit} by {of}: {said}", draw, height=60 + ROW * len(values))


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
    return _chart(title, f"{unit} by {of}: {some}", draw)


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
    return _chart(title, f"Distribution of {unit}: {told}", draw)


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
    return _chart(title, f"{y} over {x}: {told}", draw)


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
    return _chart(title, told, draw, width=size, height=size)


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

    return _chart(title, f"{len(points)} points in {len(names)} groups", draw, width=560, height=460)


def hue(place: int, count: int) -> str:
    """A colour of its own for each of `count` groups, of a lightness that is seen on white and on black."""
    red, green, blue = colorsys.hls_to_rgb((place * 0.618034) % 1 if count > 12 else place / max(count, 1), 0.5, 0.62)
    return f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}"


def _chart(title: str, told: str, draw: Callable[[Axes], None], width: int = WIDTH, height: int = HEIGHT) -> str:
    """What `draw` draws, as an <svg> that carries its title and what it shows in words."""
    title = one_line(title)
    with mpl.rc_context({**STYLE, "svg.hashsalt": title}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # of letters the page's font has
        figure = Figure(figsize=(width / 72, height / 72))
        figure.patch.set_visible(False)
        axes = figure.add_subplot()
        axes.patch.set_visible(False)
        draw(axes)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return _inlined(text.getvalue(), title, told, width, height)


def _inlined(svg: str, title: str, told: str, width: int, height: int) -> str:
    """Matplotlib's SVG as a part of a page: no prolog, no ids that stand in every chart, colours by name."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'<g id="label">', '<g class="label">', body)
    body = re.sub(r' id="[A-Za-z][A-Za-z.]*(2d)?_\d+"', "", body)
    body = re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\.\d\d)\d+", r"\1", tag[0]), body)  # places, not what is written
    body = body.replace("font-family: 'DejaVu Sans'; ", "")  # text has the page's font, which is no wider
    for role, colour in SENTINELS.items():
        body = body.replace(colour, f"var(--{role})")
    inside = body[body.index(">") + 1 :]
    said = f"<title>{html.escape(title)}</title><desc>{html.escape(one_line(told))}</desc>"
    head = f'<svg class="chart" role="img" viewBox="0 0 {width} {height}" style="max-width:{width}px"'
    return re.sub(r"\n\s*", "\n", f'{head} aria-label="{html.escape(title)}">{said}{inside}').strip()


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
