"""What matplotlib draws, as SVG text that becomes a part of a page.

Colours are sentinels that become `var(--ink)` and the like, so that a page's colour schemes reach charts by CSS alone.
The same values give the same bytes: no date, ids by hash, coordinates to a hundredth of a pixel.
"""

import html
import io
import re
import warnings
from collections.abc import Callable
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

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


def drawn(title: str, told: str, draw: Callable[[Axes], None], width: int = WIDTH, height: int = HEIGHT) -> str:
    """What `draw` draws, as an <svg> that carries its title and, as `told`, what it shows in words."""
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
