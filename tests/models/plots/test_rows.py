import math
from xml.etree import ElementTree as ET

import pytest

from models.plots import PAGE, Axis, Row, row_plot
from models.plots.rows import MARGIN, WIDTH

SVG = "{http://www.w3.org/2000/svg}"
AXIS = Axis(-10.0, 10.0, "change, %")


def test_dots_lie_at_their_values_within_the_margins() -> None:
    """The middle of the axis is the middle of the plot; a value beyond an end is drawn there."""
    rows = [Row("a", "", [(0.0, 0)]), Row("b", "", [(10.0, 1)]), Row("c", "", [(-math.inf, 0)])]
    dots = [
        float(dot.attrib["cx"]) for dot in ET.fromstring(row_plot(rows, AXIS)).iter(f"{SVG}circle")
    ]
    assert dots == [WIDTH / 2, WIDTH - MARGIN, MARGIN]


def test_a_long_name_is_shortened_so_that_the_figure_stays() -> None:
    """Names come from traffic and have any length."""
    svg = row_plot([Row("n" * 5000, "+1.0 % (0.5 to 1.5)", [(1.0, 0)])], AXIS)
    texts = [text.text or "" for text in ET.fromstring(svg).iter(f"{SVG}text")]
    assert "+1.0 % (0.5 to 1.5)" in texts
    (name,) = (text for text in texts if text.startswith("nnn"))
    assert name.endswith("…")
    assert len(name) < 60


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", "a&b", "'\" onload='x"])
def test_text_is_escaped(text: str) -> None:
    """What looks like markup is text, in names, notes, titles and legends."""
    svg = row_plot(
        [Row(text, ""), Row("", text)], AXIS, palette=PAGE, title=text, legend=[(text, 0)]
    )
    root = ET.fromstring(svg)
    assert {element.tag for element in root.iter()} <= {
        f"{SVG}{tag}" for tag in ("svg", "title", "rect", "path", "circle", "text")
    }
    assert [element.text for element in root.iter() if element.text].count(text) == 4
    assert not any(name.startswith("on") for element in root.iter() for name in element.attrib)


def test_rows_show_intervals_bounds_and_the_line_at_zero() -> None:
    """A row has as many bars as it has ranges, and the plot one line through all of them."""
    plain = row_plot([Row("a", "")], AXIS).count("<path")
    full = Row("a", "", [(0.0, 0), (2.0, 1)], interval=(-1.0, 3.0), bounds=(-5.0, 5.0))
    assert row_plot([full], AXIS, zero=0.0).count("<path") == plain + 4
