"""A report as plain data: sections of text, tables, charts and moving skeletons; and its one HTML file.

Whoever reports gathers these; the template alone knows HTML. Text is escaped there, whatever a file had for a name.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pipeline.files.atomic import sole_file_writer, write_file
from pipeline.report import html
from pipeline.skeleton.layout import Layout

_NUMBER = re.compile(r"[<+-]? ?\d[\d,.]*(e[+-]?\d+)?( %)?( \[.*\]| ± .*| \(.*\))?")
"""A number with its interval, deviation or remark."""
MOST_FRAMES = 200
"""Of a clip that moves in a page: of a longer one every second, third, ... frame is shown."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Text:
    """A paragraph."""

    kind: ClassVar = "text"
    text: str
    """What stands between `backquotes` is shown as code."""
    points: Sequence[str] = ()
    """A list below it."""
    warns: bool = False
    """It says what is missing, or what a reader must not overlook."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """Names with their values."""

    kind: ClassVar = "facts"
    rows: Sequence[tuple[str, str]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """Rows under a head; the first cell of each row is its head."""

    kind: ClassVar = "table"
    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: frozenset[int] = frozenset()
    """Places of columns that are aligned as numbers."""
    marked: frozenset[int] = frozenset()
    """Places of rows that stand out."""
    folded: bool = False
    """Behind its caption until that is opened."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Chart:
    """A chart with its title, and the numbers behind it where they matter."""

    kind: ClassVar = "chart"
    title: str
    svg: str
    """As pipeline/report/charts.py draws it."""
    table: Table | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Charts:
    """Charts, and tables with them, side by side where there is room."""

    kind: ClassVar = "charts"
    charts: Sequence[Chart | Table]


@dataclass(frozen=True, kw_only=True, slots=True)
class Moving:
    """One small moving skeleton."""

    label: str
    note: str
    clip: int
    """Its place in the report's film."""
    mark: str = ""
    """`right`, `wrong` or nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """Moving skeletons that belong together: one clip before and after, or with its neighbours."""

    kind: ClassVar = "scene"
    title: str
    note: str
    shown: Sequence[Moving]
    together: bool = False
    """They are the same frames, and play as one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Folded:
    """Blocks behind a line that opens them."""

    kind: ClassVar = "folded"
    title: str
    blocks: Sequence["Block"]
    opened: bool = False


Block = Text | Facts | Table | Chart | Charts | Scene | Folded


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """A part of a report with an entry in its contents."""

    name: str
    """Its anchor."""
    title: str
    blocks: Sequence[Block]


@dataclass(kw_only=True, slots=True)
class Film:
    """The motion that a report shows, each clip once."""

    layout: Layout
    clips: list[Mapping[str, Any]] = field(default_factory=list)

    def add(self, xyz: NDArray[np.float32], most: int = MOST_FRAMES) -> int:
        """Keep a clip (M, T, V, 3) in metres, of at most so many frames; its place."""
        self.clips.append(html.motion(xyz, self.layout, most=most))
        return len(self.clips) - 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """A report, gathered."""

    title: str
    answer: str
    """What it comes to, in a sentence."""
    about: str
    """Of what it is, in small print."""
    sections: Sequence[Section]
    film: Film | None = None


def make_table(caption: str, head: Sequence[str], rows: Sequence[Sequence[Any]], **how: Any) -> Table:
    """A table whose columns of numbers are found by looking at their cells."""
    cells = [[cell if isinstance(cell, str) else number(cell) for cell in row] for row in rows]
    numbers = frozenset(
        place
        for place in range(1, len(head))
        if cells and all(_is_number(row[place]) for row in cells) and any(row[place] for row in cells)
    )
    return Table(caption=caption, head=head, rows=cells, numbers=numbers, **how)


def number(value: Any) -> str:
    """A number as people read it: whole ones with commas, others with four digits that count."""
    if value is None:
        return ""
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return f"{int(value):,}"
    if isinstance(value, float | np.floating):
        return f"{float(value):,.4g}"
    return str(value)


def write_report(report: Report, out: Path) -> dict[str, Any]:
    """Write a report as one HTML file that appears whole.

    Returns:
        `report` (the path), `bytes`, `sections` with their charts, tables and moving skeletons.

    Raises:
        OutputLocked: another process is writing it.
        OutputFailed: the disk refuses.
    """
    film = {"skeleton": html.skeleton(report.film.layout), "clips": report.film.clips} if report.film else None
    text = html.render("report.html", report=report, film=film, title=report.title)
    content = text.encode("utf-8", "backslashreplace")
    with sole_file_writer(out):
        write_file(out, content)
    return {
        "report": str(out),
        "title": report.title,
        "answer": report.answer,
        "bytes": len(content),
        "sections": {section.name: _counted(section.blocks) for section in report.sections},
    }


def _counted(blocks: Sequence[Block]) -> dict[str, int]:
    found = {"charts": 0, "tables": 0, "skeletons": 0}
    for block in blocks:
        if isinstance(block, Folded):
            inside = _counted(block.blocks)
            found = {what: count + inside[what] for what, count in found.items()}
        parts = block.charts if isinstance(block, Charts) else [block]
        charts = [part for part in parts if isinstance(part, Chart)]
        found["charts"] += len(charts)
        found["tables"] += sum(isinstance(part, Table) for part in parts) + sum(one.table is not None for one in charts)
        found["skeletons"] += len(block.shown) if isinstance(block, Scene) else 0
    return found


def _is_number(cell: str) -> bool:
    return not cell or bool(_NUMBER.fullmatch(cell))
