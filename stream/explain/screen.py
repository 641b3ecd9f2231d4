"""An explanation on the terminal; texts of requests and headers are escaped."""

import math
from typing import Any, Final

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from models.process import logs
from stream.explain.attribution import AGREEMENT
from stream.explain.explanation import Explanation
from stream.explain.segments import Segment

SHOWN: Final = 12
"""Features that moved the reward which are shown; the JSON has all."""
_STYLE: Final = {"pass": "bold green", "block": "bold red", "reject": "bold yellow"}


def show(console: Console, found: Explanation, *, everything: bool = False) -> None:
    """Print an explanation.

    Args:
        console: Where to.
        found: The explanation.
        everything: Whether to list all features, also those that are missing or moved little.
    """
    parts: list[RenderableType] = [_verdict(found), _checks(found)]
    if found.scored is not None:
        parts += [_scores(found), _moved(found, everything=everything)]
        parts.append(_training(found))
        if everything:
            parts.append(_features(found))
    if found.missing:
        parts.append(_missing(found))
    console.print(Group(*parts))


def figure(value: Any) -> str:
    """A figure with the nine digits that decide a float32; other values as text."""
    if value is None:
        return "-"
    if isinstance(value, bool | str):
        return logs.one_line(str(value), 200)
    number = float(value)
    return f"{number:.9g}" if math.isfinite(number) else "none"


def _table(title: str, *columns: str, right: tuple[int, ...] = ()) -> Table:
    table = Table(
        title=title, title_justify="left", title_style="bold", box=None, padding=(0, 2, 0, 0)
    )
    for number, column in enumerate(columns):
        justify = "right" if number in right else "left"
        table.add_column(column, justify=justify, overflow="fold", no_wrap=number == 0)  # type: ignore[arg-type]
    return table


def _text(text: str, style: str = "") -> Text:
    return Text(logs.one_line(text, 600), style)


def _verdict(found: Explanation) -> RenderableType:
    record, letter = found.found.record, found.found.letter
    verdict = found.verdict or "not decided"
    lines = Text.assemble(
        (verdict, _STYLE.get(verdict, "bold")),
        "  ",
        (logs.one_line(found.request_id, 200), "bold"),
        f"  {found.found.kind} at {logs.one_line(found.found.where, 200)}",
        f", request at offset {found.found.source_offset}, time {record.timestamp} ms",
    )
    if letter is not None:
        lines.append(f"\n{letter.code.value}: {logs.one_line(letter.message, 500)}")
    if found.found.decision is not None:
        lines.append(f"\nreason {found.found.decision.reason.label}")
    if found.scored is not None and found.used is not None:
        scored = found.scored
        named = "" if found.used.named or not found.used.missing else " (NOT the one that decided)"
        lines.append(f", model {logs.one_line(found.used.model.version, 100)}{named}")
        lines.append(f", scenario {logs.one_line(scored.scenario, 100)}")
        lines.append(f", rate {scored.settings.rate:g}, explore {scored.settings.explore:g}")
    if found.replayed is not None:
        lines.append(
            f"\ndebt {found.replayed.debt:.4g} passes after {found.replayed.requests:,} requests; "
            f"threshold {figure(found.replayed.threshold)}"
        )
        if found.replayed.worker:
            lines.append(
                f"; from the journal of worker {logs.one_line(found.replayed.worker, 100)}"
            )
    return lines


def _checks(found: Explanation) -> RenderableType:
    if not found.checks:
        return _text("nothing was logged about it", "yellow")
    state = {
        True: "the log, computed again: bit for bit the same",
        False: "the log, computed again: NOT the same",
        None: "the log, computed again: the same, as far as it can be computed",
    }[found.reproduced]
    table = _table(state, "", "logged", "computed", "", "", right=(1, 2))
    marks = {True: ("same", "green"), False: ("differs", "bold red"), None: ("open", "yellow")}
    for check in found.checks:
        table.add_row(
            check.name, figure(check.logged), figure(check.computed), Text(*marks[check.equal]),
            _text(check.why),
        )  # fmt: skip
    return table


def _scores(found: Explanation) -> RenderableType:
    scored = found.scored
    if scored is None:
        return Text()
    table = _table(
        f"e = {figure(scored.e)}", "task", "score s", "uncertainty u", "t = h(s, u)",
        right=(1, 2, 3),
    )  # fmt: skip
    for column, name in enumerate(found.tasks.names):
        row = (scored.scores_T, scored.uncertainties_T, scored.t_T)
        table.add_row(name, *(figure(values_T[column]) for values_T in row))
    return table


def _moved(found: Explanation, *, everything: bool) -> RenderableType:
    made = found.attribution
    if made is None:
        return Text()
    table = _table(
        f"what moved e from {figure(made.baseline_M[0])} (nothing known) to "
        f"{figure(made.value_M[0])}",
        "feature", "read", "means", "path", "+-", "occlusion", right=(3, 4, 5),
    )  # fmt: skip
    by_name = {value.name: value for value in found.values}
    order = made.order(0)
    shown = order if everything else order[:SHOWN]
    for player in shown:
        value = by_name[made.names[player]]
        table.add_row(
            value.name, _text(value.raw), value.bucket, f"{made.path_AM[player, 0]:+.4g}",
            f"{made.error_AM[player, 0]:.2g}", f"{made.occlusion_AM[player, 0]:+.4g}",
        )  # fmt: skip
    rest = [player for player in order if player not in shown]
    if rest:
        table.add_row(f"{len(rest)} others", "", "", f"{made.path_AM[rest, 0].sum():+.4g}", "", "")
    return Group(table, _agreement(found))


def _agreement(found: Explanation) -> Text:
    made = found.attribution
    if made is None:
        return Text()
    change = made.value_M[0] - made.baseline_M[0]
    total = (
        f"path: means over {made.orders} orders, they add up to {made.path_AM[:, 0].sum():+.6g} of "
        f"{change:+.6g}. "
    )
    rho = made.agreement(0)
    if rho is None:
        return Text(total + "Occlusion and path cannot be compared.")
    compared = f"(rank correlation {rho:.2f} over {len(made.names)} features)"
    if rho >= AGREEMENT:
        return Text(f"{total}Occlusion and path agree {compared}.", "green")
    return Text(
        f"{total}Occlusion and path do NOT agree {compared}: features stand in for each other or "
        "count only together; occlusion says what losing one field would change, path who "
        "deserves the sum.",
        "yellow",
    )


def _training(found: Explanation) -> RenderableType:
    data = found.training
    if data is None:
        return _known(found)
    table = _table(
        f"training rows like it, of {data.rows:,.0f}", "rows that share", "rows",
        *(f"{name}: events / labels" for name in found.tasks.names),
        right=tuple(range(1, 2 + len(found.tasks.names))),
    )  # fmt: skip
    for depth, segment in enumerate(data.segments):
        table.add_row(("and " if depth else "") + segment.of[-1], *_counts(segment, found))
    if data.nearest is not None:
        share = f"nearest: at least {data.nearest.similarity:.0%} of its features"
        table.add_row(share, *_counts(data.nearest, found))
    return table


def _counts(segment: Segment, found: Explanation) -> list[str]:
    return [
        f"{segment.rows:,.0f}",
        *(
            f"{segment.positives[name]:,.0f} / {segment.labels[name]:,.0f}"
            for name in found.tasks.names
        ),
    ]


def _known(found: Explanation) -> RenderableType:
    hint = "--store FILES counts the training rows that are like it"
    if found.known is None or found.attribution is None:
        return Text(f"training rows: not known; {hint}")
    table = _table(
        f"training rows with the same id, of {found.known['rows']:,} (from the model's reference; "
        f"{hint})", "feature", "rows", right=(1,),
    )  # fmt: skip
    counts = found.known["features"]
    moved = [found.attribution.names[player] for player in found.attribution.order(0)]
    for name in [name for name in moved if name in counts][:SHOWN]:
        count = counts[name]
        table.add_row(name, count if isinstance(count, str) else f"{count:,.0f}")
    return table


def _features(found: Explanation) -> RenderableType:
    table = _table("what was read", "feature", "place", "value", "ids", "means", right=(3,))
    for value in found.values:
        ids = "" if value.missing else ", ".join(map(str, value.ids))
        table.add_row(value.name, value.place, _text(value.raw), ids, value.bucket)
    return table


def _missing(found: Explanation) -> RenderableType:
    parts = [_text(part, "yellow") for part in found.missing]
    return Group(Text("what is missing", "bold italic"), *parts)
