from collections.abc import Iterator
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from stream.cli.main import build_app


def commands() -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command of `weir`, with its words."""
    waiting = [((), typer.main.get_command(build_app()))]
    while waiting:
        words, command = waiting.pop()
        yield words, command
        if hasattr(command, "commands"):
            waiting += [((*words, name), sub) for name, sub in command.commands.items()]


@pytest.mark.parametrize(("words", "command"), list(commands()), ids=str)
def test_help_says_all_that_was_written(words: tuple[str, ...], command: Any) -> None:
    """No word of a help text is lost, those in square brackets included."""
    result = CliRunner().invoke(build_app(), [*words, "--help"], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    shown = "".join(result.output.split())
    for parameter in command.params:
        text = getattr(parameter, "help", None)
        if text:
            assert "".join(text.split()) in shown, parameter.name
