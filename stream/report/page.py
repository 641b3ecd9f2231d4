"""The report as one page of HTML: nothing is loaded from elsewhere, and all text is escaped.

A content security policy admits the page's own style sheet and script, by their hashes, and nothing
else: even text that got past the escaping could neither run nor be sent anywhere.
"""

import hashlib
from base64 import b64encode
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any, Final

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from models.bounds import MAX_TIME_MS
from stream.report.charts import Figure, change_figure, curve_figure, group_figures
from stream.report.content import HOLD, SHIP, UNKNOWN, Comparison, Report
from stream.report.data_tables import tables
from stream.report.text import count, share
from stream.report.view_charts import view_figures

MAX_BYTES: Final = 500_000
MAX_SHOWN: Final = 6
"""Comparisons on the page; ``report.json`` has all."""
_ROWS: Final = (50, 20, 8)
_KINDS: Final = {SHIP: ("ship", "\u2713"), HOLD: ("hold", "\u2715"), UNKNOWN: ("unknown", "?")}


def render(report: Report) -> bytes:
    """The page, of at most :data:`MAX_BYTES`; rows and plots of groups are left out to fit."""
    page = b""
    for most in _ROWS:
        for with_groups in (True, False):
            page = _render(report, most, with_groups=with_groups)
            if len(page) <= MAX_BYTES:
                return page
    return _render(report, 0, with_groups=False)


def _render(report: Report, most: int, *, with_groups: bool) -> bytes:
    folder = files(__package__)
    style, script = ((folder / name).read_text("utf-8") for name in ("page.css", "page.js"))
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["key"] = lambda key: repr(key).replace("inf", "Infinity")
    template = environment.from_string((folder / "page.html").read_text("utf-8"))
    shown = report.comparisons[:MAX_SHOWN]
    page = template.render(
        policy=f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; "
        "base-uri 'none'; form-action 'none'",
        style=Markup(style),  # noqa: S704 - the package's own
        script=Markup(script),  # noqa: S704 - the package's own
        headline=_headline(shown),
        comparisons=[_verdict(one) for one in shown],
        facts=_facts(report),
        sections=_sections(report, with_groups=with_groups),
        tables=[
            {
                "title": table.title,
                "head": table.head,
                "rows": table.rows,
                "note": table.note,
                "numeric": _numeric(table.rows),
            }
            for table in tables(report, most)
        ],
        margin=f"{report.margin:g}",
        level=f"{report.level:.0%}",
        source=f"Source: {report.source}. Schema version {report.version}.",
    )
    return page.encode("utf-8", "replace")


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _numeric(rows: Any) -> set[int]:
    return {at for at, cell in enumerate(rows[0]) if cell.key is not None} if rows else set()


def _headline(comparisons: Any) -> str:
    if not comparisons:
        return "Nothing to compare"
    first: Comparison = comparisons[0]
    words = {SHIP: f"Ship {first.arm}", HOLD: f"Hold {first.arm}"}
    return words.get(first.verdict, f"Not enough evidence to judge {first.arm}")


def _verdict(one: Comparison) -> dict[str, str]:
    kind, sign = _KINDS[one.verdict]
    title = f"{one.verdict.capitalize()}: {one.arm} against {one.base}"
    return {"kind": kind, "sign": sign, "verdict": title, "why": one.why, "arm": one.arm}


def _sections(report: Report, *, with_groups: bool) -> list[dict[str, Any]]:
    shown = report.comparisons[:MAX_SHOWN]
    changes = [change_figure(one, report.level) for one in shown]
    groups = [figure for one in shown if with_groups for figure in group_figures(one, report.level)]
    curves = [curve_figure(curve, report) for curve in report.curves]
    return [
        {"title": "Events kept", "figures": [figure for figure in changes if figure]},
        {"title": "Passing ratio against value", "figures": curves},
        {"title": "Who gains, who loses", "figures": groups},
        {"title": "Is the model right, and does it know where not", "figures": _model(report)},
    ]


def _model(report: Report) -> list[Figure]:
    """Views of the arm that the first verdict is about."""
    about = report.comparisons[0].arm if report.comparisons else ""
    return [figure for one in report.views if one.arm == about for figure in view_figures(one)]


def _facts(report: Report) -> list[dict[str, str]]:
    log = report.log
    rejected = sum(report.rejects.values())
    facts = [
        _fact("Requests", count(report.requests), f"{count(rejected)} records rejected"),
        _fact("Period", *_period(report)),
        _fact(
            "Logged as passed",
            share(log.passed / max(log.passed + log.blocked, 1)),
            f"{count(log.explored)} by exploration, {count(log.unseen)} without a chance",
        ),
    ]
    for one in report.comparisons[:1]:
        facts.append(
            _fact(
                f"{one.arm}: decisions that differ",
                share(one.differ / max(one.requests, 1)),
                f"{count(one.newly_passed)} newly passed, {count(one.newly_blocked)} newly blocked",
            )
        )
        facts.append(
            _fact(
                f"{one.arm}: requests passed",
                share(one.arm_passed),
                f"{one.base} {share(one.base_passed)}",
            )
        )
    return facts


def _fact(name: str, value: str, detail: str) -> dict[str, str]:
    return {"name": name, "value": value, "detail": detail}


def _period(report: Report) -> tuple[str, str]:
    if report.first_ms is None or report.last_ms is None:
        return "no requests", ""
    first, last = _moment(report.first_ms), _moment(report.last_ms)
    whole = "" if report.complete else "; not complete"
    day, _, time = first.partition(" ")
    return day, f"{time} to {last} UTC{whole}".strip()


def _moment(ms: int) -> str:
    """A time in UTC to the minute, or the number itself where it is no time of a calendar."""
    if not 0 <= ms <= MAX_TIME_MS:
        return f"{ms} ms"
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")
