"""The base of the errors that a person is meant to read and mend."""

from collections.abc import Iterator


class UserError(Exception):
    """A fault whose message says what was wrong, where, and what to do.

    The command line prints it without a traceback and ends with status 2.
    """


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error, those that it groups, and those that led to them, nearest first."""
    queue: list[BaseException | None] = [error]
    seen: set[int] = set()
    while queue:
        one = queue.pop(0)
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        if isinstance(one, BaseExceptionGroup):
            queue.extend(one.exceptions)
        queue.append(one.__cause__ or one.__context__)
