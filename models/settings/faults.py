"""Messages about invalid settings: the key, the value found, and what would be right.

Of a secret, and of a whole section that may contain one, no value is shown.
"""

import re
import reprlib
from typing import Final

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_settings import SettingsError

from models.suggestions import did_you_mean
from models.validation import reason

#: TOML's names of the types.
_KINDS: Final[dict[type, str]] = {
    str: "a text",
    int: "an integer",
    float: "a number",
    dict: "a table",
    list: "an array",
}

#: Where pydantic-settings names the section that it cannot read from the environment.
_FIELD: Final = re.compile(r'^error parsing value for field "(\w+)"')


def explain(error: ValidationError | SettingsError, root: type[BaseModel]) -> str:
    """A message with one line per fault.

    Args:
        error: The error that pydantic raised.
        root: The model of all settings.
    """
    if isinstance(error, SettingsError):
        field = _FIELD.search(str(error))
        if field is None:
            return f"settings: {error}"
        variable = f"WEIR_{field[1].upper()}"
        return f"environment variable {variable}, or {variable}__KEY: the value is not JSON"
    lines = []
    for fault in error.errors():
        path = [str(part) for part in fault["loc"]]
        key = ".".join(path)
        if fault["type"] == "extra_forbidden":
            siblings = _siblings(path, root)
            hint = f"; {did_you_mean(path[-1], siblings)}" if siblings else ""
            lines.append(f"{key}: unknown key{hint}")
        elif fault["type"] == "value_error":
            lines.append(str(fault["ctx"]["error"]))
        elif fault["type"] == "string_pattern_mismatch":
            lines.append(
                f"{key}: {_shown(path, fault['input'])} may have letters, digits, '.', '_' and "
                "'-' only"
            )
        elif fault["type"] == "missing":
            lines.append(f"{key}: is missing")
        elif fault["type"] in {"model_type", "dict_type"}:
            found = _shown(path, fault["input"])
            lines.append(f"{key}: is a section; set a key in it, as {key}.KEY (found {found})")
        elif _is_secret(path, root):
            lines.append(f"{key}: must be a text; put it in quotes (it is not shown)")
        else:
            lines.append(f"{key}: {reason(fault)} (found {_shown(path, fault['input'])})")
    return "\n".join(lines)


def _is_secret(path: list[str], model: type[BaseModel]) -> bool:
    """Whether a key holds a secret, or lies below one that does."""
    for part in path:
        field = model.model_fields.get(part)
        if field is None:
            return False
        if field.annotation is SecretStr:
            return True
        if not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            return False
        model = field.annotation
    return False


def _shown(path: list[str], value: object) -> str:
    """The value found, shortened; of a whole section, which may hold secrets, only its type."""
    if len(path) < 2 or isinstance(value, dict | list):
        return _KINDS.get(type(value), f"a {type(value).__name__}")
    return reprlib.repr(value)


def _siblings(path: list[str], model: type[BaseModel]) -> list[str]:
    """The keys of the section in which a key was given; none if that is not a section."""
    for part in path[:-1]:
        field = model.model_fields.get(part)
        if field is None or not isinstance(field.annotation, type):
            return []
        if not issubclass(field.annotation, BaseModel):
            return []
        model = field.annotation
    return list(model.model_fields)
