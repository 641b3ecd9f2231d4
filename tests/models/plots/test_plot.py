import math
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest

from models.plots import Axis, Frame, Line, Plot, line_plot

SVG = "{http://www.w3.org/2000/svg}"


def points(svg: str, shape: str) -> list[list[tuple[float, float]]]:
    """Pixel coordinates of every shape of this kind."""
    return [
        [tuple(map(float, point.split(","))) for point in found.attrib["points"].split()]
        for found in ET.fromstring(svg).iter(f"{SVG}{shape}")
    ]


def test_curves_run_from_the_lower_left_up_to_the_right() -> None:
    """Larger values lie further right and further up, within the margins."""
    (curve,) = points(line_plot({"a": Line([0, 1, 2], [5, 6, 9])}, "x", "y"), "polyline")
    assert curve == sorted(curve)
    heights = [y for _, y in curve]
    assert heights == sorted(heights, reverse=True)
    frame = Frame()
    for x, y in curve:
        assert frame.left < x < frame.width - frame.right
        assert frame.top < y < frame.height - frame.bottom


def test_points_that_are_not_finite_are_left_out() -> None:
    """A gap in a curve and in its band; a curve without any point; a plot without any curve."""
    gap = Line([0, 1, 2], [1.0, math.nan, 3.0], [0.5, None, 2.5], [1.5, None, 3.5])
    svg = line_plot({"gap": gap, "nothing": Line([0, 1], [math.nan, math.inf])}, "x", "y")
    assert [len(curve) for curve in points(svg, "polyline")] == [2]
    assert [len(band) for band in points(svg, "polygon")] == [4]
    assert "nothing" not in svg
    assert line_plot({"nothing": Line([0], [math.nan])}, "x", "y") == ""


def test_names_are_escaped_and_long_legends_are_wrapped() -> None:
    """Text is never read as markup, and every line of the legend makes the plot higher."""
    lines = {f"a <b> & c {number}": Line([0, 1], [0, 1]) for number in range(20)}
    root = ET.fromstring(line_plot(lines, "<x>", "y & z"))
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert {"<x>", "y & z"} <= set(texts)
    assert sum("a <b> & c" in (text or "") for text in texts) == 20
    assert float(root.attrib["height"]) > Frame().height + 5 * 14


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3, 7), (1e-6, 2e-6), (0.98, 1.01), (0, 5e8)])
def test_axes_have_a_few_round_ticks_within_their_span(low: float, high: float) -> None:
    """Two to six of them, evenly spaced."""
    ticks = Axis(low, high).marks()
    assert 2 <= len(ticks) <= 6
    assert low <= min(ticks) <= max(ticks) <= high
    gaps = [b - a for a, b in pairwise(ticks)]
    assert gaps == pytest.approx([gaps[0]] * len(gaps))


def test_a_scale_spaces_values_and_the_ends_bound_them() -> None:
    """On a logarithmic axis equal ratios are equally far apart; values outside lie at the ends."""
    axis = Axis(0.1, 100, ticks=(1, 10), scale=math.log)
    shares = [axis.share(value) for value in (0.1, 1, 10, 100)]
    assert shares == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert (axis.share(0.001), axis.share(1e9)) == (0, 1)
    assert axis.marks() == (1, 10)


def test_bars_stand_on_the_axis() -> None:
    """Their heights are proportional to the values, and neighbours touch."""
    plot = Plot(Axis(0, 2), Axis(0, 4), Frame(width=120, height=120, left=10, right=10))
    plot.bars([0, 1, 2], [1, 4])
    _, first, second = ET.fromstring(plot.svg()).iter(f"{SVG}rect")
    one, four = float(first.attrib["height"]), float(second.attrib["height"])
    assert four == pytest.approx(4 * one)
    assert float(first.attrib["y"]) + one == pytest.approx(float(second.attrib["y"]) + four)
    assert float(first.attrib["x"]) + float(first.attrib["width"]) == float(second.attrib["x"])
