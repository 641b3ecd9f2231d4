"""Reading and writing the topic `control`, from Python and from the command line."""

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from models.settings import Settings
from stream.cli.main import build_app
from stream.control.client import read_control, write_control
from stream.policy import PolicyError
from tests.stream.control.workers import tiny

__all__ = ["tiny"]

pytestmark = pytest.mark.broker


async def test_the_commands_write_what_they_then_read(tiny: Settings) -> None:
    """Changes add up per scenario, reset takes them back, and what cannot be is not written."""
    await write_control(tiny, "*", {"rate": 0.7, "weights": {"click": 2.0}})
    await write_control(tiny, "new", {"capacity": 50.0})
    revision = await write_control(tiny, "*", {"explore": 0.01})
    found = await read_control(tiny)
    assert found.revision == revision == 2
    everything, new = found.settings("*"), found.settings("new")
    assert (everything["rate"], everything["weights"]["click"], everything["explore"]) == (
        0.7, 2.0, 0.01,
    )  # fmt: skip
    assert (new["capacity"], new["rate"], found.settings("strict")["rate"]) == (50.0, 0.7, 0.9)
    assert found.settings("unheard of") == everything
    with pytest.raises(PolicyError, match=r"weights: 'sale' is not a task"):
        await write_control(tiny, "*", {"weights": {"sale": 1.0}})
    await write_control(tiny, "*", None)
    assert (await read_control(tiny)).settings("*")["rate"] == 0.5


async def test_the_command_publishes_nothing_that_workers_would_refuse(tiny: Settings) -> None:
    """Out of bounds, unnamed, too long: the error names bound and value, and the topic is empty."""
    for scenario, change, message in (
        ("*", {"slack": 1e8}, "slack: .* less than or equal to 1000"),
        ("*", {"capacity": float("inf")}, "capacity: .* less than or equal to"),
        ("", {"rate": 0.1}, "1 to 256 characters"),
        ("x" * 300, {"rate": 0.1}, "1 to 256 characters"),
        ("\ud800", {"rate": 0.1}, "surrogates not allowed"),
        ("*", {"rate": [[[1]]]}, "rate: "),
    ):
        with pytest.raises(PolicyError, match=message):
            await write_control(tiny, scenario, change)
    assert (await read_control(tiny)).revision == -1


def test_the_command_line_sets_and_gets(tiny: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """`weir rate set` and `weir policy set` print the revision that `get` then shows."""
    for name, value in tiny.environment().items():
        monkeypatch.setenv(name, value)

    def weir(*arguments: str) -> dict[str, Any]:
        result = CliRunner().invoke(build_app(), arguments)
        assert result.exit_code == 0, result.output
        return dict(json.loads(result.output))

    assert weir("rate", "set", "0.75")["revision"] == 0
    assert weir("policy", "set", "weights.click=3", "confidence=score")["revision"] == 1
    assert weir("rate", "set", "--capacity", "900", "--scenario", "strict")["revision"] == 2
    assert weir("rate", "get") == {
        "revision": 2, "rate": 0.75, "capacity": None, "consumption": None,
    }  # fmt: skip
    assert weir("rate", "get", "--scenario", "strict")["capacity"] == 900
    assert weir("policy", "get")["weights"]["click"] == 3
    assert weir("policy", "set", "--reset")["settings"] is None
    assert weir("rate", "get")["rate"] == 0.5
