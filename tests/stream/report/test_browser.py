"""The page in a headless Chromium: it runs without errors, loads nothing, and shows its plots."""

from pathlib import Path

import pytest

from stream.report.page import render
from tests.stream.report.browser import browser_page, find_chromium
from tests.stream.report.reports import hostile_report, report

CHROMIUM = find_chromium()
PLOTS = """[...document.querySelectorAll("figure svg")].map(svg => {
  const box = svg.getBoundingClientRect();
  return [svg.querySelectorAll("circle, polyline").length, box.width, box.height];
})"""
COLUMN = """[...document.querySelectorAll("table")[2].tBodies[0].rows].map(row =>
  row.cells[2].textContent)"""

SORT = 'document.querySelectorAll("table")[2].querySelectorAll("th button")[2].click()'


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed: apt-get install chromium")
async def test_the_page_in_a_browser(tmp_path: Path) -> None:
    """On a phone and a large screen, in light and dark, with ordinary and with hostile names."""
    assert CHROMIUM is not None
    pages = {"plain": render(report()), "hostile": render(hostile_report())}
    async with browser_page(CHROMIUM, tmp_path / "profile") as page:
        for name, content in pages.items():
            path = tmp_path / f"{name}.html"
            path.write_bytes(content)
            for width, dark in ((390, True), (1440, False)):
                await page.open(path, width, dark=dark)
                assert await page.evaluate("document.documentElement.scrollWidth") <= width
                plots = await page.evaluate(PLOTS)
                assert len(plots) >= 4
                for shapes, wide, high in plots:
                    assert shapes > 0
                    assert wide > 250
                    assert high > 80
            paper = await page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert paper == "rgb(246, 247, 248)"
            await page.evaluate(SORT)
            assert await page.evaluate(COLUMN) == ["+0.50", "+0.20"]
            await page.evaluate(SORT)
            assert await page.evaluate(COLUMN) == ["+0.20", "+0.50"]
        assert page.seen.console == []
        assert {url.split(":")[0] for url in page.seen.requests} == {"file"}
        assert len(set(page.seen.requests)) == len(pages)
