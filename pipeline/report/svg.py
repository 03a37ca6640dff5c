"""Render matplotlib charts as SVG that is embedded in a page.

Colours are sentinels that are replaced by `var(--ink)` and so on, so CSS alone switches a chart's colour scheme.
The same values give the same bytes: no date, hashed ids, coordinates rounded to a hundredth of a pixel.
"""

import html
import io
import re
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from importlib import resources
from typing import Any, Literal, Self

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
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
"""The colour used for each CSS variable while plotting; no other element has these colours."""
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # keeps text as text: searchable, in the page's font
    "font.family": "DejaVu Sans",  # ships with matplotlib, so the layout is the same on every machine
    "font.size": 13,
    "text.parse_math": False,  # class names may contain $
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
    "legend.fontsize": 13,
    "lines.linewidth": 1.7,
    "figure.constrained_layout.use": True,
}
WIDE, WIDTH, NARROW = 1080, 560, 336
"""Widths of a chart in pixels: over the whole page, in half of it or on a small screen, and on a phone.

A chart is drawn in several widths, and the page shows the one that fits, so its text always has the same size.
"""
HEIGHT = 300
SMALL = 13
"""Size of names and numbers in a chart, pixels."""
HOVER = "hover "
"""Start of the id of an element that shows the rest of its id when the mouse is over it."""
HOVER_EACH = "hover each "
"""The same for the points of a scatter plot: the rest of the id has a line for each point."""


Numbers = Sequence[Sequence[object]]
"""Rows of a table; the first one names the columns."""


class SvgChart(str):
    """A <div> with the <svg> elements of a chart, which can also be drawn as PNG, with the numbers that it shows."""

    numbers: Numbers
    _title: str
    _plot: Callable[[Axes], None]
    _width: int
    _height: int

    def __new__(
        cls, svg: str, title: str, plot: Callable[[Axes], None], width: int, height: int, numbers: Numbers
    ) -> Self:
        """Keep what was plotted with its markup."""
        chart = super().__new__(cls, svg)
        chart._title, chart._plot, chart._width, chart._height, chart.numbers = title, plot, width, height, numbers
        return chart

    def png(self) -> bytes:
        """Draw the chart with its title in the light colours of a page, on white, with two pixels per pixel."""
        colours = _light_colours()
        style = {key: colours.get(value, value) if isinstance(value, str) else value for key, value in STYLE.items()}
        sentinels = dict(SENTINELS)
        SENTINELS.update({role: colours[colour] for role, colour in sentinels.items()})
        try:
            with mpl.rc_context(style), warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="Glyph")
                figure = Figure(figsize=(self._width / 72, self._height / 72 + 0.4))
                axes = figure.add_subplot()
                self._plot(axes)
                figure.suptitle(self._title, parse_math=False)
                content = io.BytesIO()
                figure.savefig(content, format="png", dpi=144, metadata={"Software": None})
        finally:
            SENTINELS.update(sentinels)
        return content.getvalue()


@cache
def _light_colours() -> dict[str, str]:
    """Return the colour of the pages' light scheme for each sentinel."""
    css = resources.files("pipeline.report").joinpath("templates", "style.css").read_text(encoding="utf-8")
    found = {role: re.search(rf"--{role}: (#[0-9a-f]{{6}})", css) for role in SENTINELS}
    return {SENTINELS[role]: match[1] for role, match in found.items() if match}


def render_svg(
    title: str,
    description: str,
    plot: Callable[[Axes], None],
    numbers: Numbers,
    width: int = WIDTH,
    height: int = HEIGHT,
    *,
    keeps_shape: bool = False,
) -> SvgChart:
    """Render a chart in its width and in those for smaller screens; each <svg> has a title and a description.

    Args:
        title: of the chart.
        description: for screen readers.
        plot: plots the chart; called for every width.
        numbers: what the chart shows, as a table.
        width: pixels.
        height: pixels.
        keeps_shape: a narrower chart is lower.
    """
    title = one_line(title)
    variants = []
    for name, limit in (("wide", WIDE), ("middle", WIDTH), ("narrow", NARROW)):
        if name != "wide" or width > WIDTH:
            shown = min(width, limit)
            size = shown, min(height, round(1.15 * shown)) if keeps_shape else height
            variants.append(_render(title, description, plot, size, name))
    return SvgChart(f'<div class="chart">{"".join(variants)}</div>', title, plot, width, height, numbers)


def _render(title: str, description: str, plot: Callable[[Axes], None], size: tuple[int, int], name: str) -> str:
    with mpl.rc_context({**STYLE, "svg.hashsalt": f"{title} {name}"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # missing in DejaVu Sans, but the page's font may have it
        figure = Figure(figsize=(size[0] / 72, size[1] / 72))
        figure.patch.set_visible(False)
        axes = figure.add_subplot()
        axes.patch.set_visible(False)
        plot(axes)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return _embed(text.getvalue(), title, description, size, name)


def size_of(axes: Axes) -> NDArray[np.float64]:
    """Return width and height in pixels of the chart that is being plotted."""
    figure = axes.get_figure(root=True)
    return 72 * np.asarray(figure.get_size_inches() if figure else (0, 0), np.float64)


def width_of(axes: Axes) -> float:
    """Return the width in pixels of the chart that is being plotted."""
    return float(size_of(axes)[0])


def shorten(name: str, max_characters: int = 30) -> str:
    """Return a name on one line, cut after `max_characters`."""
    plain = one_line(name)
    return plain if len(plain) <= max_characters else f"{plain[: max_characters - 1].rstrip()}…"


def _embed(svg: str, title: str, description: str, size: tuple[int, int], name: str) -> str:
    """Convert matplotlib's SVG for a page: drop the prolog and the ids common to all charts, use CSS colours."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'<g id="label">', '<g class="label">', body)
    body = re.sub(rf'<g id="{HOVER_EACH}([^"]*)">(.*?)</g>', _title_points, body, flags=re.DOTALL)
    body = re.sub(rf'<g id="{HOVER}([^"]*)">', r"<g><title>\1</title>", body)
    body = re.sub(r' id="[A-Za-z][A-Za-z.]*(2d)?_\d+"', "", body)
    # Round coordinates, but not numbers in text.
    body = re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\.\d\d)\d+", r"\1", tag[0]), body)
    body = body.replace("font-family: 'DejaVu Sans'; ", "")  # use the page's font, which is not wider
    for role, colour in SENTINELS.items():
        body = body.replace(colour, f"var(--{role})")
    content = body[body.index(">") + 1 :]
    labels = f"<title>{html.escape(title)}</title><desc>{html.escape(one_line(description))}</desc>"
    width, height = size
    head = f'<svg class="{name}" role="img" viewBox="0 0 {width} {height}" style="max-width:{width}px"'
    return re.sub(r"\n\s*", "\n", f'{head} aria-label="{html.escape(title)}">{labels}{content}').strip()


def _title_points(group: re.Match[str]) -> str:
    """Give each point of a scatter plot its line of the group's id as title; group: the id's rest, the points."""
    titles = iter(group[1].split("\n"))
    points = re.sub("<use ([^>]*)/>", lambda use: f"<use {use[1]}><title>{next(titles)}</title></use>", group[2])
    return f"<g>{points}</g>"
