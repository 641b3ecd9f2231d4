"""Copies of upstream functions that use other classes, for one object instead of for the process.

aiokafka creates some of its helpers by their names in the module of the caller. To replace such a
helper, a subclass takes over the method that creates it, as a copy that sees another object behind
the name. Nothing of aiokafka's own modules is changed, so clients that are not Weir's stay as they
are.
"""

from types import FunctionType
from typing import Any


def rebound(function: Any, **names: Any) -> Any:
    """A copy of `function` with other objects behind some global names of its module.

    Raises:
        LookupError: If the function does not use one of the names, as after an upgrade.
    """
    for name in names:
        if name not in function.__code__.co_names or name not in function.__globals__:
            raise LookupError(f"{function.__qualname__} uses no global {name}")
    copy = FunctionType(
        function.__code__,
        {**function.__globals__, **names},
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy
