"""Charts of a report as PNG and CSV."""

import csv
import io
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.report import charts
from pipeline.report.chart_files import save_charts
from pipeline.report.charts import Curve
from pipeline.report.confusion_matrix import draw_confusion_matrix
from pipeline.report.report import Chart, Charts, Folded, Report, Section, Text
from pipeline.report.scatter_plot import draw_scatter_plot
from pipeline.report.svg import SENTINELS

SVGS = {
    "bars": charts.bars("Top-1", ["a", "=b"], [50.0, 25.0], unit="%", category="row", intervals=[(40, 60), None]),
    "columns": charts.columns("By subject", ["1", "2"], [3, 4], unit="clips", category="subject"),
    "histogram": charts.histogram("Lengths", np.array([2, 3]), unit="frames", category="clips"),
    "curves": charts.curves("Loss", [Curve(name="total", x=[1, 2], y=[3, 4])], x="epoch", y="loss"),
    "confusion": draw_confusion_matrix("Errors", np.array([[3, 1], [0, 4]]), ["7 run", "8"]),
    "scatter": draw_scatter_plot("Map", np.array([[0.5, 1], [2, 3]]), np.array([0, -1]), ["run"], ["c1", "c2"]),
}
NUMBERS = {
    "01-top-1": [["row", "%", "low", "high"], ["a", "50.0", "40", "60"], ["'=b", "25.0", "", ""]],
    "02-by-subject": [["subject", "clips"], ["1", "3"], ["2", "4"]],
    "03-lengths": [["frames"], ["2"], ["3"]],
    "04-loss": [["line", "epoch", "loss"], ["total", "1", "3"], ["total", "2", "4"]],
    "05-errors": [["true class", "7 run", "8"], ["7 run", "3", "1"], ["8", "0", "4"]],
    "06-map": [["name", "x", "y", "group"], ["c1", "0.5", "1.0", "run"], ["c2", "2.0", "3.0", ""]],
}


def report() -> Report:
    titles = ["Top-1", "By subject", "Lengths", "Loss", "Errors", "Map"]
    made = [Chart(title=title, svg=svg) for title, svg in zip(titles, SVGS.values(), strict=True)]
    blocks = [Text(text="x"), Charts(charts=made[:2]), Folded(title="f", blocks=[Charts(charts=made[2:5])]), made[5]]
    return Report(title="t", answer="", about="", sections=[Section(name="s", title="S", blocks=blocks)])


def test_every_chart_is_saved_with_its_numbers(tmp_path: Path) -> None:
    before = dict(SENTINELS)
    written = save_charts(report(), tmp_path / "charts")
    assert sorted({path.stem for path in written}) == sorted(NUMBERS)
    assert sorted(written) == sorted((tmp_path / "charts").iterdir())
    for name, rows in NUMBERS.items():
        text = (tmp_path / "charts" / f"{name}.csv").read_text()
        assert list(csv.reader(io.StringIO(text))) == rows
        image = np.asarray(Image.open(tmp_path / "charts" / f"{name}.png").convert("RGB"))
        assert image.shape[1] >= 800
        assert (image[0, 0] == 255).all()
        assert (image != 255).any(axis=2).mean() > 0.001
    assert before == SENTINELS


def test_the_same_charts_give_the_same_bytes(tmp_path: Path) -> None:
    one, two = (
        {path.name: path.read_bytes() for path in save_charts(report(), tmp_path / name)} for name in ("a", "b")
    )
    assert one == two


def test_charts_of_an_earlier_report_are_removed_and_other_files_are_kept(tmp_path: Path) -> None:
    save_charts(report(), tmp_path)
    for name in ("07-old-chart.png", "07-old-chart.csv", "08-mine.png", "notes.csv"):
        (tmp_path / name).touch()
    written = save_charts(report(), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in written} | {"08-mine.png", "notes.csv"}
