from typing import Any

import pytest

from models.nested import overlay, put


def test_put_creates_the_tables_of_a_dotted_key() -> None:
    """Tables that exist are kept, those that are missing are created."""
    tree: dict[str, Any] = {"a": {"x": 1}}
    put(tree, "a.b.c", 2)
    put(tree, "d", 3)
    assert tree == {"a": {"x": 1, "b": {"c": 2}}, "d": 3}


def test_put_refuses_a_key_below_a_value() -> None:
    """A key cannot be both a value and a table; the message names it."""
    with pytest.raises(ValueError, match="rate is given a value of its own"):
        put({"rate": 0.5}, "rate.least", 0.1)


def test_overlay_merges_tables_and_replaces_the_rest() -> None:
    """Both inputs stay as they are."""
    below = {"a": {"x": 1, "y": 2}, "b": {"z": 1}, "c": 1}
    assert overlay(below, {"a": {"y": 3}, "b": None}) == {"a": {"x": 1, "y": 3}, "b": None, "c": 1}
    assert below == {"a": {"x": 1, "y": 2}, "b": {"z": 1}, "c": 1}
