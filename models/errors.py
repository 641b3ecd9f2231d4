"""The base of the errors that a person is meant to read and mend."""


class UserError(Exception):
    """A fault whose message says what was wrong, where, and what to do.

    The command line prints it without a traceback and ends with status 2.
    """
