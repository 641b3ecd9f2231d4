"""What pydantic's errors say, in the words of all other messages of Weir.

Pydantic writes for the author of a model (``Input should be a valid dictionary or instance of
Task``, ``Value error, ...``); who reads the message wrote a settings file, published an
artifact, or typed a command, whose options typer leaves to pydantic.
"""

import re
import reprlib
from collections.abc import Mapping
from typing import Any, Final

from pydantic import ValidationError

#: Replaced in this order; a message that none of them matches stays as it is.
_WORDING: Final = tuple(
    (re.compile(pattern), words)
    for pattern, words in (
        (r"^(Value error|Assertion failed), ", ""),
        (r"^Field required$", "is missing"),
        (r"^(Extra inputs are not permitted|Unexpected keyword argument)$", "unknown key"),
        (r"^Invalid JSON: ", "not JSON: "),
        (r"^[A-Z]\w+ should ", "must "),
        (r"\bhave at (least|most) (.+) after validation\b", r"have at \1 \2"),
        (r", unable to (parse|interpret) .*$", ""),
        (r"\ba valid string\b", "a text"),
        (r"\ba valid integer\b", "an integer"),
        (r"\ba valid number\b", "a number"),
        (r"\ba valid boolean\b", "true or false"),
        (r"\ba valid (list|tuple|set|frozenset)\b", "an array"),
        (r"\ba (valid )?dictionary( or .*)?$", "a table"),
        (r"\ban object$", "a table"),
    )
)


def reason(fault: Mapping[str, Any]) -> str:
    """What is wrong with one value, without its place.

    Args:
        fault: One of ``ValidationError.errors()``.
    """
    text = str(fault["msg"])
    for pattern, words in _WORDING:
        text = pattern.sub(words, text)
    return text


def reason_and_input(fault: Mapping[str, Any]) -> str:
    """What is wrong with one value, and the value, unless the reason is Weir's own and quotes it.

    Args:
        fault: One of ``ValidationError.errors()``.
    """
    if fault["type"] in {"value_error", "assertion_error"}:
        return reason(fault)
    return f"{reason(fault)} (found {reprlib.repr(fault['input'])})"


def first_fault(error: ValidationError) -> str:
    """The first fault: ``FIELD: REASON``, or the reason alone where it is of the whole."""
    fault = error.errors()[0]
    place = ".".join(str(part) for part in fault["loc"])
    return f"{place}: {reason(fault)}" if place else reason(fault)
