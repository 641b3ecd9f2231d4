"""Nested tables: setting a value by its dotted key, and merging one tree over another.

Every tree of settings is put together by these two functions: flags and overrides, the settings of
a scenario, the trainer's configuration.
"""

from collections.abc import Mapping, MutableMapping
from typing import Any


def put(tree: MutableMapping[str, Any], key: str, value: object) -> None:
    """Set ``tree["a"]["b"]["c"]`` for the key ``a.b.c``; missing tables are created.

    Raises:
        ValueError: If a part of the key already has a value that is not a table; names the part.
    """
    *tables, name = key.split(".")
    for table in tables:
        tree = tree.setdefault(table, {})
        if not isinstance(tree, MutableMapping):
            raise ValueError(f"{table} is given a value of its own, too")  # noqa: TRY004
    tree[name] = value


def overlay(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """A new tree with ``above`` over ``below``: tables are merged, other values are replaced."""
    tree = dict(below)
    for key, value in above.items():
        under = tree.get(key)
        if isinstance(under, Mapping) and isinstance(value, Mapping):
            tree[key] = overlay(under, value)
        else:
            tree[key] = value
    return tree
