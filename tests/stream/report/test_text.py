import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.report.text import MAX_LETTERS, share, shown, signed


@given(st.text(st.characters(codec=None), max_size=300))
def test_shown_text_is_bounded_and_has_no_hidden_characters(text: str) -> None:
    """Whatever a request holds, it is one line of visible characters, and encodes as UTF-8."""
    clear = shown(text)
    assert len(clear) <= MAX_LETTERS
    assert not {unicodedata.category(letter) for letter in clear} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert clear.encode().decode() == clear


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("DE", "DE"),
        ("a\u202eb", "a\\u202eb"),
        ("a\nb", "a\\u000ab"),
        ("München 北京", "München 北京"),
        ("x" * 81, "x" * 79 + "…"),
        (None, "None"),
    ],
)
def test_only_what_misleads_is_changed(text: object, expected: str) -> None:
    """Ordinary text of any script stays as it is."""
    assert shown(text) == expected


def test_a_change_that_rounds_to_zero_has_no_sign() -> None:
    """A minus in front of 0.0 would say that something was lost."""
    assert [signed(v) for v in (-0.04, 0.0, 0.04, -1234.5, 0.06)] == [
        "0.0", "0.0", "0.0", "\N{MINUS SIGN}1,234.5", "+0.1",
    ]  # fmt: skip
    assert share(0.12345) == "12.3\u00a0%"
