import re
import xml.etree.ElementTree as ET
from collections.abc import Callable

import numpy as np
import pytest

from pipeline.report import charts
from pipeline.report.charts import Curve

HOSTILE = "<script>alert('1')</script> & $x^2$ \x07 \ud800 名"
RNG = np.random.default_rng(0)
COUNTS = RNG.poisson(1, (30, 30))
DRAWN: dict[str, Callable[[], str]] = {
    "bars": lambda: charts.bars(
        "b", [HOSTILE, "two"], [3.5, 0.0], unit="%", category="class", intervals=[(1, 4), None]
    ),
    "columns": lambda: charts.columns(
        "c", [str(n) for n in range(106)], list(range(106)), unit="clips", category="subject"
    ),
    "histogram": lambda: charts.histogram("h", np.array([5, 5, 5]), unit="frames", category="clips"),
    "curves": lambda: charts.curves(
        "l", [Curve(name=HOSTILE, x=[0, 1], y=[1, 2]), Curve(name="b", x=[0], y=[3])], x="epoch", y="loss"
    ),
    "confusion": lambda: charts.confusion("m", COUNTS[:4, :4], [HOSTILE, "b", "", "d"], [0, 1, 2, 3]),
    "large confusion": lambda: charts.confusion("n", COUNTS, [HOSTILE] * 30, list(range(30))),
    "scatter": lambda: charts.scatter("s", RNG.normal(size=(50, 2)), np.arange(50) % 5 - 1, [HOSTILE, "1", "2", "3"]),
}


@pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN)
def test_a_chart_is_well_formed_named_and_coloured_by_the_page(draw: Callable[[], str]) -> None:
    svg = draw()
    root = ET.fromstring(svg.replace("xlink:href", "href"))
    title, told, *_ = root
    assert (title.tag, told.tag) == ("title", "desc")
    assert title.text
    assert told.text
    tags = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert "text" in tags or "scatter" in title.text
    assert not tags & {"script", "image", "foreignObject"}
    colours = set(re.findall(r"(?:fill|stroke): ?([^;\"]+)", svg))
    assert any(colour.startswith("var(--") for colour in colours)
    assert not [colour for colour in colours if colour.startswith("#0a0b")]
    assert "DejaVu" not in svg
    assert "http" not in re.sub(r'xmlns(:xlink)?="[^"]*"', "", svg)


def test_the_same_values_give_the_same_bytes_and_two_charts_share_no_id() -> None:
    every = [draw() for draw in DRAWN.values()]
    again = [charts.bars("b", [HOSTILE, "two"], [3.5, 0.0], unit="%", category="class", intervals=[(1, 4), None])]
    assert again == every[:1]
    ids = re.findall(r' id="([^"]+)"', "".join(every))
    assert len(ids) == len(set(ids))


def test_written_numbers_keep_their_digits() -> None:
    svg = charts.curves("rate", [Curve(name="rate", x=[0, 1], y=[0.005, 0.001])], x="epoch", y="rate", from_zero=True)
    assert ">0.005<" in svg


def test_names_are_shown_short_and_on_one_line() -> None:
    svg = charts.bars("b", ["a\nb" * 40, HOSTILE], [1, 2], unit="%", category="class")
    assert "a\\nb" in svg
    assert "…" in svg
    assert "&lt;script&gt;" in svg


def test_long_curves_are_means_of_stretches() -> None:
    x, y = charts._thinned(np.arange(10_000), np.arange(10_000) * 2.0)
    assert len(x) == charts.MAX_POINTS
    assert x[0] == pytest.approx(9.5)
    assert np.allclose(y, 2 * x)


def test_every_cell_of_a_confusion_is_drawn_once_where_it_belongs() -> None:
    counts = np.array([[3, 1, 0], [0, 0, 2], [0, 0, 5]])
    svg = charts.confusion("m", counts, ["a", "b", "c"], [0, 1, 2])
    assert re.findall(r">(\d+)</text>", svg) == ["3", "1", "2", "5"]
    assert "8 of 11 clips on the diagonal" in svg
    blue = re.findall(r'd="([^"]+)"[^>]*style="[^"]*fill: var\(--accent\)', svg)
    red = re.findall(r'd="([^"]+)"[^>]*style="[^"]*fill: var\(--bad\)', svg)
    assert sum(path.count("M") for path in blue) == 2
    assert sum(path.count("M") for path in red) == 2


def test_marks_show_their_values_on_hover() -> None:
    svg = charts.bars(
        "t", ["a<b", "c"], [1.5, 2], unit="top-1 %", category="x", intervals=[(1, 3), None], labelled=True
    )
    assert "<title>a&lt;b: 1.5 top-1 %</title>" in svg
    assert ">1.5<" in svg
    assert "<title>loss: 4 at epoch 1</title>" in charts.curves(
        "t", [Curve(name="loss", x=[0, 1], y=[3, 4])], x="epoch", y="y"
    )
    counts = np.array([[3, 1], [0, 4]])
    svg = charts.confusion("t", counts, ["run", "walk"], [0, 1])
    assert "<title>run, predicted as walk: 1 clip, 25 %</title>" in svg
    assert "walk, predicted as run" not in svg


def test_a_distant_point_does_not_squeeze_the_map() -> None:
    points = np.random.default_rng(0).normal(size=(100, 2))
    points[0, 0] = 1e6
    svg = charts.scatter("t", points, np.zeros(100, int), ["a"])
    at = [float(x) for x in re.findall(r'<use [^>]*x="([0-9.]+)"', svg)]
    assert np.subtract(*np.percentile(at, (75, 25))) > 100  # pixels of 760
