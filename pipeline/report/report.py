"""The data model of an HTML report (sections, text, tables, charts, moving skeletons), and writing it to one file.

Reports are built from these blocks; only the template contains HTML. It escapes all text, such as names from files.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pipeline.files.atomic import sole_file_writer, write_file
from pipeline.files.text_paths import accept_text_paths
from pipeline.report import html
from pipeline.skeleton.layout import Layout

_NUMBER = re.compile(r"[<+-]? ?\d[\d,.]*(e[+-]?\d+)?( %)?( \[.*\]| ± .*| \(.*\))?")
"""A number, optionally with an interval, a deviation or a remark."""
MAX_FRAMES = 200
"""Maximum number of frames of a clip in a page: of a longer clip, every second, third, ... frame is shown."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Text:
    """A paragraph."""

    kind: ClassVar = "text"
    text: str
    """Text between `backquotes` is shown as code."""
    points: Sequence[str] = ()
    """Bullet points below the text."""
    warns: bool = False
    """Highlight the text as a warning."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """A list of names and values."""

    kind: ClassVar = "facts"
    rows: Sequence[tuple[str, str]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A table with a header row; the first cell of each row is the row's header."""

    kind: ClassVar = "table"
    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: frozenset[int] = frozenset()
    """Indices of the columns that are aligned as numbers."""
    marked: frozenset[int] = frozenset()
    """Indices of the highlighted rows."""
    folded: bool = False
    """Show only the caption until it is clicked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Chart:
    """A chart with its title, and optionally a table of its numbers."""

    kind: ClassVar = "chart"
    title: str
    svg: str
    """Output of a function of pipeline/report/charts.py."""
    table: Table | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Charts:
    """Charts and tables, shown side by side if there is room."""

    kind: ClassVar = "charts"
    charts: Sequence[Chart | Table]


@dataclass(frozen=True, kw_only=True, slots=True)
class MovingSkeleton:
    """One small moving skeleton."""

    label: str
    note: str
    clip: int
    """Index of its clip in the report's film."""
    mark: str = ""
    """`right`, `wrong` or empty."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """A group of moving skeletons: a clip before and after its recipe, or a clip and its neighbours."""

    kind: ClassVar = "scene"
    title: str
    note: str
    shown: Sequence[MovingSkeleton]
    together: bool = False
    """They show the same frames and are played in step."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Folded:
    """Blocks that are hidden until their title is clicked."""

    kind: ClassVar = "folded"
    title: str
    blocks: Sequence["Block"]
    opened: bool = False


Block = Text | Facts | Table | Chart | Charts | Scene | Folded


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """A section of a report, listed in its table of contents."""

    name: str
    """Anchor of its link."""
    title: str
    blocks: Sequence[Block]


@dataclass(kw_only=True, slots=True)
class Film:
    """The clips that a report shows as moving skeletons."""

    layout: Layout
    clips: list[Mapping[str, Any]] = field(default_factory=list)

    def add(
        self, xyz: NDArray[np.float32], max_frames: int = MAX_FRAMES, ringed: NDArray[np.bool_] | None = None
    ) -> int:
        """Add a clip (M, T, V, 3) in metres, thinned to at most `max_frames`; return its index.

        `ringed` (M, T, V) marks joints by a ring.
        """
        self.clips.append(html.encode_motion(xyz, self.layout, max_frames=max_frames, ringed=ringed))
        return len(self.clips) - 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """The content of a report."""

    title: str
    answer: str
    """The main result in one sentence."""
    about: str
    """What the report is about, in small print."""
    sections: Sequence[Section]
    tiles: Sequence[tuple[str, str]] = ()
    """The key numbers, as names and values."""
    film: Film | None = None


def make_table(caption: str, head: Sequence[str], rows: Sequence[Sequence[Any]], **options: Any) -> Table:
    """Build a table; columns whose cells are all numbers are aligned as numbers."""
    cells = [[cell if isinstance(cell, str) else format_number(cell) for cell in row] for row in rows]
    numbers = frozenset(
        column
        for column in range(1, len(head))
        if cells and all(_is_number(row[column]) for row in cells) and any(row[column] for row in cells)
    )
    return Table(caption=caption, head=head, rows=cells, numbers=numbers, **options)


def format_number(value: Any) -> str:
    """Format a number for reading: integers with thousands separators, others with four significant digits."""
    if value is None:
        return ""
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return f"{int(value):,}"
    if isinstance(value, float | np.floating):
        return f"{float(value):,.4g}"
    return str(value)


@accept_text_paths
def write_report(report: Report, out: Path) -> dict[str, Any]:
    """Write a report as one HTML file, atomically.

    Returns:
        `report` (the path), `title`, `answer`, `bytes`, and `sections` with their numbers of charts, tables and
        skeletons.

    Raises:
        OutputLocked: another process is writing it.
        OutputFailed: the disk refuses.
    """
    film = {"skeleton": html.encode_skeleton(report.film.layout), "clips": report.film.clips} if report.film else None
    text = html.render("report.html", report=report, film=film, title=report.title)
    content = text.encode("utf-8", "backslashreplace")
    with sole_file_writer(out):
        write_file(out, content)
    return {
        "report": str(out),
        "title": report.title,
        "answer": report.answer,
        "bytes": len(content),
        "sections": {section.name: _count_blocks(section.blocks) for section in report.sections},
    }


def _count_blocks(blocks: Sequence[Block]) -> dict[str, int]:
    counts = {"charts": 0, "tables": 0, "skeletons": 0}
    for block in blocks:
        if isinstance(block, Folded):
            inner = _count_blocks(block.blocks)
            counts = {kind: count + inner[kind] for kind, count in counts.items()}
        members = block.charts if isinstance(block, Charts) else [block]
        charts = [member for member in members if isinstance(member, Chart)]
        tables = [member for member in members if isinstance(member, Table)]
        counts["charts"] += len(charts)
        counts["tables"] += len(tables) + sum(chart.table is not None for chart in charts)
        counts["skeletons"] += len(block.shown) if isinstance(block, Scene) else 0
    return counts


def _is_number(cell: str) -> bool:
    return not cell or bool(_NUMBER.fullmatch(cell))
