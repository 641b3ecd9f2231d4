"""Tables of text."""

import pytest

from stream.cli.tables import LIMIT, as_text, print_table


def test_columns_are_aligned_and_empty_ones_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    """Values are figures, words, or nothing."""
    print_table(["a", "empty", "long"], [[1, None, 0.123456], ["three", "", True]])
    assert capsys.readouterr().out == "a      long\n1      0.1235\nthree  yes\n"
    print_table(["", ""], [["x", 86_400.0]])
    assert capsys.readouterr().out == "x  86400\n"
    print_table(["a"], [])
    assert capsys.readouterr().out == ""


def test_a_hostile_text_is_one_line() -> None:
    """It neither moves the cursor nor fills the screen."""
    text = as_text("\x1b[2Jfirst\nsecond" + "x" * 10_000)
    assert "\x1b" not in text
    assert "\n" not in text
    assert len(text.encode()) <= LIMIT
