"""Save the charts of a report as PNG, for papers and talks, and their numbers as CSV."""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.files.atomic import write_file
from pipeline.files.spreadsheet import escape_cell
from pipeline.report.report import Block, Chart, Charts, Folded, Report
from pipeline.report.svg import SvgChart

MAX_NAME = 60
"""Characters of a file's name."""


def save_charts(report: Report, folder: Path) -> list[Path]:
    """Write NUMBER-TITLE.png and .csv of every chart into a folder, and remove those of an earlier report.

    Raises:
        OutputFailed: the disk refuses.
    """
    folder.mkdir(exist_ok=True)
    written = []
    for number, chart in enumerate(
        _charts([block for section in report.sections for block in section.blocks]), start=1
    ):
        name = f"{number:02d}-{re.sub(r'[^a-z0-9]+', '-', chart.title.lower()).strip('-')}"[:MAX_NAME].rstrip("-")
        svg = chart.svg
        if isinstance(svg, SvgChart):
            written += [folder / f"{name}.png", folder / f"{name}.csv"]
            write_file(written[-2], svg.png())
            write_file(written[-1], _to_csv(svg.numbers).encode())
    for picture in sorted(folder.glob("[0-9][0-9]-*.png")):
        numbers = picture.with_suffix(".csv")
        if picture not in written and numbers.exists():
            picture.unlink()
            numbers.unlink()
    return written


def _charts(blocks: Sequence[Block]) -> Iterator[Chart]:
    for block in blocks:
        if isinstance(block, Folded):
            yield from _charts(block.blocks)
        members = block.charts if isinstance(block, Charts) else [block]
        yield from (member for member in members if isinstance(member, Chart))


def _to_csv(rows: Sequence[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for row in rows:
        writer.writerow([escape_cell(cell) if isinstance(cell, str) else cell for cell in row])
    return text.getvalue()
