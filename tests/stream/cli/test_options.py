"""What a command says of an option whose value is wrong."""

import pytest
from typer.testing import CliRunner

from stream.cli.main import build_app

APP = build_app()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["worker", "--role", "x"], "'--role': 'x' is not one of 'intercept', 'feedback'."),
        (["worker", "--rate", "x"], "'--rate': must be a number (found 'x')"),
        (["worker", "--metrics-port", "1.5"], "'--metrics-port': must be an integer (found '1.5')"),
        (["demo", "--workers", "0"], "'--workers': must be greater than or equal to 1 (found '0')"),
        (["train", "--simulated", "x"], "'--simulated': must be an integer (found 'x')"),
    ],
)
def test_it_is_in_the_words_of_the_settings(arguments: list[str], expected: str) -> None:
    """With the option, the value and what is right; typer's validator is not heard."""
    done = CliRunner().invoke(APP, arguments)
    assert done.exit_code == 2
    assert done.output.splitlines()[-1] == f"Error: Invalid value for {expected}"
