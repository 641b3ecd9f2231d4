"""`weir plan` from the command line."""

import json

import pytest
from typer.testing import CliRunner

from stream.cli.main import build_app


def weir(*arguments: str) -> str:
    result = CliRunner().invoke(build_app(), ["plan", *arguments], env={"COLUMNS": "160"})
    assert result.exit_code == 0, result.output
    return result.output


def test_the_plan_is_printed_with_what_it_is_made_of() -> None:
    """Needs first, then every figure with its source; one's own figures replace the measured."""
    shown = weir("--requests", "2000000", "--bytes", "1400", "--p99", "50", "--cpu-us", "30")
    for part in ("workers", "partitions", "brokers", "network into workers", "sharing of the rate"):
        assert part in shown
    assert "given" in shown
    assert "assumed: measure your brokers" in shown


def test_a_plan_as_json_has_the_load_and_the_needs() -> None:
    """For scripts."""
    found = json.loads(weir("--requests", "100000", "--p99", "200", "--json"))
    assert (found["requests"], found["guarantee"]) == (100_000, "at-least-once")
    assert found["workers"] > found["spare"] >= 1
    more = json.loads(weir("--requests", "100000", "--p99", "25", "--json"))
    assert more["workers"] > found["workers"]


def test_an_impossible_latency_ends_with_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    """Not a traceback."""
    arguments = ["plan", "--requests", "1000", "--p99", "10"]
    result = CliRunner().invoke(build_app(), arguments)
    assert result.exit_code != 0
    assert "an idle worker has 19 ms" in result.output + capsys.readouterr().err + str(
        result.exception
    )
