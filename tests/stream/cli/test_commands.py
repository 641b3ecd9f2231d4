"""Every subcommand and its help."""

from collections.abc import Iterator
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from stream.cli.main import build_app


def commands() -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command of `weir`, with its name as it is typed."""
    queue = [((), typer.main.get_command(build_app()))]
    while queue:
        words, command = queue.pop()
        yield words, command
        if hasattr(command, "commands"):
            queue += [((*words, name), sub) for name, sub in command.commands.items()]


@pytest.mark.parametrize(("words", "command"), list(commands()), ids=str)
def test_help_shows_the_whole_text_of_every_option(words: tuple[str, ...], command: Any) -> None:
    """Every option has a text, and no word of it is lost, such as one in square brackets."""
    result = CliRunner().invoke(build_app(), [*words, "--help"], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    shown = "".join(result.output.split())
    for parameter in command.params:
        assert parameter.help, parameter.name
        assert "".join(parameter.help.split()) in shown, parameter.name
