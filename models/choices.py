"""Registries of code that a setting chooses by name, such as the kinds of teacher.

A registry maps each name to the place of its code, ``package.module:function``. Importing a
registry does not import that code, so a configuration is checked without torch.
"""

from collections.abc import Collection, Mapping
from pkgutil import resolve_name
from typing import Any

from pydantic import AfterValidator

from models.suggestions import did_you_mean


def chosen_from(registry: Mapping[str, str], *others: str) -> AfterValidator:
    """A pydantic validator for a name of the registry.

    Args:
        registry: Name to place.
        others: Names that are allowed besides, without code of their own.
    """
    return one_of((*registry, *others))


def one_of(names: Collection[str]) -> AfterValidator:
    """A pydantic validator for one of these names."""

    def check(name: str) -> str:
        if name not in names:
            raise ValueError(f"{name!r} is unknown; {did_you_mean(name, names)}")
        return name

    return AfterValidator(check)


def load_choice(registry: Mapping[str, str], name: str) -> Any:
    """Import the code behind a name of the registry.

    Raises:
        ValueError: If the registry has no such name.
    """
    if name not in registry:
        raise ValueError(f"{name!r} is unknown; {did_you_mean(name, registry)}")
    return resolve_name(registry[name])
