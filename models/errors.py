"""The base class of errors that users can fix, and the causes of an error."""

from collections.abc import Iterator


class UserError(Exception):
    """An error whose message says what is wrong, where, and how to fix it.

    The command line prints it without a traceback and exits with status 2.
    """


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error, the ones that it groups, and the ones that caused these; nearest first."""
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
