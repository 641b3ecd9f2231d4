"""Writes ``report.json`` and ``report.html`` into the folder of a replay."""

from pathlib import Path
from typing import Final

import orjson

from models.process.atomic import write_atomically
from stream.report.content import Report
from stream.report.page import render

JSON_NAME: Final = "report.json"
PAGE_NAME: Final = "report.html"


def write_report(folder: Path, report: Report) -> None:
    """Write both files; each replaces an older one as a whole.

    Raises:
        OSError: If the folder cannot be written to.
    """
    content = orjson.dumps(report, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    for name, data in ((JSON_NAME, content), (PAGE_NAME, render(report))):
        write_atomically(folder / name, data)
