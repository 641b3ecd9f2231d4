import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import pytest

from stream.report.content import HOLD, UNKNOWN, Grouping, Interval, Report
from stream.report.page import MAX_BYTES, render
from tests.stream.report.reports import comparison, group, hostile_report, refused, report

#: Elements that a page may have, and attributes that may hold text of the report.
ELEMENTS = {
    *("html", "head", "meta", "title", "style", "body", "header", "main", "section", "p", "h1"),
    *("h2", "h3", "span", "dl", "div", "dt", "dd", "figure", "figcaption", "svg", "rect", "path"),
    *("circle", "text", "polyline", "polygon", "details", "summary", "table", "thead", "tbody"),
    *("tr", "th", "td", "button", "b", "code", "footer", "script"),
}


class Elements(HTMLParser):
    """All elements of a page with their attributes, and its text outside of styles and scripts."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._inside = ""
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self._inside = tag

    def handle_data(self, data: str) -> None:
        if self._inside not in {"style", "script"}:
            self.text += data


@pytest.mark.parametrize("made", [report(), hostile_report()])
def test_text_from_traffic_is_only_ever_text(made: Report) -> None:
    """No element, handler, address or style comes from a name."""
    page = Elements(render(made))
    assert {tag for tag, _ in page.found} <= ELEMENTS
    assert sum(tag == "script" for tag, _ in page.found) == 1
    for _, attributes in page.found:
        assert not {"src", "href", "style", "srcset", "action"} & set(attributes)
        assert not [name for name in attributes if name.startswith(("on", "xlink"))]
    if made.comparisons[0].arm != "b":
        assert "<script>alert(1)</script>" in page.text
        assert "{{ 7 * 7 }}" in page.text
        assert "\u202e" not in page.text


def test_the_page_admits_only_its_own_script_and_style() -> None:
    """The policy names both by their hashes and allows no address."""
    page = render(report()).decode()
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    policy = policy.replace("&#39;", "'")
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert "http" not in policy
    addresses = set(re.findall(r"(?:https?:)?//[\w.]+", page)) - {"http://www.w3.org"}
    assert not {address for address in addresses if "." in address}


def test_plots_are_well_formed_and_say_what_to_see() -> None:
    """Each has a title, axes with units, and a note with sample size and certainty."""
    page = render(report()).decode()
    figures = re.findall(
        r"<figure><h3>(.*?)</h3>(<svg.*?</svg>)<figcaption>(.*?)</figcaption>", page
    )
    assert len(figures) == 12
    for title, svg, note in figures:
        ET.fromstring(svg)
        assert len(title) > 10
        assert re.search(r"\d", note)
        assert "95%" in note or "no interval" in note
        assert "%" in svg or "per 1,000" in svg


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (report(), "Ship b"),
        (report(comparison("b", verdict=HOLD)), "Hold b"),
        (report(comparison("b", verdict=UNKNOWN)), "Not enough evidence to judge b"),
        (replace(report(), comparisons=[]), "Nothing to compare"),
    ],
)
def test_the_verdict_comes_first(made: Report, words: str) -> None:
    """Before any figure stands what to do."""
    text = Elements(render(made)).text
    assert text.index(words) < text.index("Requests")


def test_what_is_refused_has_words() -> None:
    """A task that the log says nothing about is named with the reason, without a dot."""
    text = Elements(render(report(comparison("b", refused("deal"))))).text
    assert "the log never passes 900 of the 2,000 requests" in text
    assert "only what is possible" in text


def test_a_large_report_fits() -> None:
    """Many arms, properties and groups with long names stay within the size."""
    value = Interval(1.0, 0.5, 1.5)
    names = [f"{number}{'<>&' * 26}" for number in range(20)]
    groups = [group(name, 0.5, 0.6, click=value, deal=value) for name in names]
    by = [Grouping(f"property {number}", groups, 0, 0) for number in range(8)]
    made = report(*(comparison(f"arm {number}", groups=by) for number in range(40)))
    page = render(made)
    assert MAX_BYTES / 20 < len(page) <= MAX_BYTES
