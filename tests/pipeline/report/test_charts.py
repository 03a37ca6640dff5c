import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest

from pipeline.report import charts
from pipeline.report.charts import Curve
from pipeline.report.confusion_matrix import SCALE, draw_confusion_matrix
from pipeline.report.scatter_plot import draw_scatter_plot, place_labels

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
    "confusion": lambda: draw_confusion_matrix("m", COUNTS[:4, :4], [HOSTILE, "b", "2", "d"]),
    "large confusion": lambda: draw_confusion_matrix("n", COUNTS, [HOSTILE] * 30),
    "scatter": lambda: draw_scatter_plot(
        "s", RNG.normal(size=(50, 2)), np.arange(50) % 5 - 1, [HOSTILE, "1", "2", "3"], [HOSTILE] * 50
    ),
}


def variant(svg: str, name: str) -> str:
    """The <svg> of one width."""
    return svg[svg.index(f'<svg class="{name}"') :].partition("</svg>")[0]


@pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN)
def test_a_chart_is_well_formed_named_and_coloured_by_the_page(draw: Callable[[], str]) -> None:
    svg = draw()
    root = ET.fromstring(svg.replace("xlink:href", "href"))
    for variant in root:
        title, description, *_ = variant
        assert (title.tag, description.tag) == ("title", "desc")
        assert title.text
        assert description.text
        tags = {element.tag.rpartition("}")[2] for element in variant.iter()}
        assert "text" in tags
        assert not tags & {"script", "image", "foreignObject"}
    colours = set(re.findall(r"(?:fill|stroke): ?([^;\"]+)", svg))
    assert any(colour.startswith("var(--") for colour in colours)
    assert not [colour for colour in colours if colour.startswith("#0a0b")]
    assert "DejaVu" not in svg
    assert "http" not in re.sub(r'xmlns(:xlink)?="[^"]*"', "", svg)


@pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN)
def test_a_chart_has_a_variant_for_each_screen_and_no_text_below_13_pixels(draw: Callable[[], str]) -> None:
    svg = draw()
    widths = {name: int(width) for name, width in re.findall(r'<svg class="(\w+)" [^>]*viewBox="0 0 (\d+) ', svg)}
    assert widths["narrow"] == 336
    assert widths["middle"] == 560
    assert set(widths) <= {"wide", "middle", "narrow"}
    sizes = [float(size) for size in re.findall(r"font(?:-size)?: [^;]*?([\d.]+)px", svg)]
    assert sizes
    assert min(sizes) >= 13


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
    svg = variant(draw_confusion_matrix("m", counts, ["a", "b", "c"]), "middle")
    assert re.findall(r">(\d+)</text>", svg) == ["3", "1", "2", "5"]
    assert "8 of 11 clips on the diagonal" in svg
    blue = re.findall(r'd="([^"]+)"[^>]*style="[^"]*fill: var\(--accent\)', svg)
    red = re.findall(r'd="([^"]+)"[^>]*style="[^"]*fill: var\(--bad\)', svg)
    assert sum(path.count("M") for path in blue) == 2 + len(SCALE)  # and the legend
    assert sum(path.count("M") for path in red) == 2 + len(SCALE)


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
    svg = draw_confusion_matrix("t", counts, ["run", "walk"])
    assert "<title>run, predicted as walk: 1 clip, 25 %</title>" in svg
    assert "walk, predicted as run" not in svg


@pytest.mark.parametrize(("classes", "named"), [(60, True), (120, False)])
def test_the_classes_of_a_large_confusion_matrix_can_be_read(classes: int, named: bool) -> None:
    counts = np.eye(classes, dtype=int) * 5
    counts[3, 4] = 2
    svg = draw_confusion_matrix("t", counts, [f"A{number:03d} action" for number in range(1, classes + 1)])
    wide = re.findall(r">(A\d\d\d[^<]*)</text>", variant(svg, "wide"))
    shown = [f"A{number:03d} action" for number in range(1, classes + 1)]
    assert wide == 2 * (shown if named else [name.split()[0] for name in shown[::2]])
    narrow = re.findall(r">(A\d\d\d)</text>", variant(svg, "narrow"))
    assert narrow[0] == "A001"
    assert len(narrow) <= 2 * 336 / 15
    assert "<title>A004 action, predicted as A005 action: 2 clips, 29 %</title>" in svg


def test_the_colour_scale_of_a_confusion_matrix_is_explained() -> None:
    svg = draw_confusion_matrix("t", np.eye(2, dtype=int), ["a", "b"])
    for name in ("middle", "narrow"):
        labels = re.findall(r">(\d+ % \w+)</text>", variant(svg, name))
        assert sorted(labels) == sorted(f"{share} % {word}" for share in (10, 50, 100) for word in ("correct", "wrong"))


def test_each_point_of_a_map_shows_its_own_name() -> None:
    points = np.array([[0.0, 0], [5, 5], [1, 0], [0, 1]])
    svg = draw_scatter_plot("t", points, np.array([0, 1, 0, -1]), ["run", "walk"], ["r1", "w1", "r2", "none"])
    found = re.findall(r'<use [^>]*x="([\d.]+)" y="([\d.]+)"[^>]*><title>([^<]*)</title>', variant(svg, "wide"))
    at = {name: (float(x), float(y)) for x, y, name in found}
    assert set(at) == {"r1 (run)", "r2 (run)", "w1 (walk)", "none"}
    assert at["r1 (run)"][0] < at["r2 (run)"][0] < at["w1 (walk)"][0]
    assert at["r1 (run)"][0] == at["none"][0]


def test_a_label_is_in_the_densest_part_of_its_group_and_covers_no_other() -> None:
    left, right = RNG.normal((100, 100), 3, (30, 2)), RNG.normal((500, 100), 3, (8, 2))
    split = np.concatenate([left, right])
    places = place_labels([split, left + 1, np.zeros((0, 2))], ["split", "other", "empty"])
    assert places[2] is None
    first, second = places[0], places[1]
    assert first is not None
    assert second is not None
    assert abs(first[0] - 100) < 10
    spread = RNG.uniform(0, 300, (200, 2))
    found = place_labels([spread, spread, spread], ["one", "two", "three"])
    for one, other in combinations(found, 2):
        assert one is not None
        assert other is not None
        assert abs(one - other)[0] > 20 or abs(one - other)[1] >= 17


def test_a_distant_point_does_not_squeeze_the_map() -> None:
    points = np.random.default_rng(0).normal(size=(100, 2))
    points[0, 0] = 1e6
    svg = draw_scatter_plot("t", points, np.zeros(100, int), ["a"], ["n"] * 100)
    at = [float(x) for x in re.findall(r'<use [^>]*x="([0-9.]+)"', variant(svg, "wide"))]
    assert np.subtract(*np.percentile(at, (75, 25))) > 150  # pixels of 1080
