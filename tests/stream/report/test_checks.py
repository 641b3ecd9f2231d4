import pytest

from stream.report.checks import CheckError, parse_checks, run_checks
from tests.stream.report.reports import comparison, refused, task_change

COMPARED = [
    comparison("b", task_change("deal", -2.0, -1.0, 0.5)),
    comparison("a b", task_change("deal", 1.0, 2.0, 3.0), arm_passed=0.55),
]


def failed(text: str) -> list[bool]:
    return [check.failed for check in run_checks(parse_checks([text]), COMPARED)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("deal.kept < -0.5", [True, False]),
        ("deal.kept < -1", [False, False]),
        ("deal.kept <= -1", [True, False]),
        ("deal.kept_low<-1.5", [True, False]),
        ("b: deal.kept < -0.5", [True]),
        ("a b:deal.change > 0.1", [True]),
        ("deal.ess < 1000", [True, True]),
        ("passed < -1", [False, True]),
        ("differ >= 5", [True, True]),
    ],
)
def test_conditions_are_judged_on_every_arm_or_one(text: str, expected: list[bool]) -> None:
    """A condition names a figure, and an arm if it is about one only."""
    assert failed(text) == expected


def test_what_is_not_known_fails() -> None:
    """A log that cannot support a figure does not let a change through."""
    (check,) = run_checks(parse_checks(["deal.kept < -0.5"]), [comparison("b", refused("deal"))])
    assert check.failed
    assert check.value is None
    assert "not known, which fails: the log never passes" in check.why


@pytest.mark.parametrize(
    "text",
    [
        "", "deal.kept", "deal.kept < x", "kept < 1", "deal.passed < 1", "deal.kept == 1",
        "deal.kept < -0.5 or 1", "__import__('os')", "deal.kept < 1e999", "x" * 100_000,
        "deal.kept < nan",
    ],
)  # fmt: skip
def test_what_is_no_condition_is_refused_with_the_grammar(text: str) -> None:
    """The text is parsed, never evaluated."""
    with pytest.raises(CheckError, match="write FIGURE < NUMBER"):
        parse_checks([text])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("c: deal.kept < 0", "compared arms: b, a b"),
        ("sale.kept < 0", "no task sale; there are"),
    ],
)
def test_unknown_names_are_refused_with_those_that_exist(text: str, message: str) -> None:
    """A check of an arm that was renamed must not pass."""
    with pytest.raises(CheckError, match=message):
        failed(text)
