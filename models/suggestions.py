"""Suggestions for misspelt names: the one "did you mean" of all error messages."""

import difflib
from collections.abc import Iterable


def did_you_mean(word: str, known: Iterable[str], otherwise: str | None = None) -> str:
    """A hint for an unknown name.

    Args:
        word: The name that was given.
        known: The names that exist.
        otherwise: The hint where no known name is similar; by default it lists the known names.

    Returns:
        ``did you mean 'NAME'?`` for the most similar known name, else ``otherwise``.
    """
    names = list(known)
    similar = difflib.get_close_matches(word, names, n=1)
    if similar:
        return f"did you mean {similar[0]!r}?"
    return f"known are {', '.join(names)}" if otherwise is None else otherwise
