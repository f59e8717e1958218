"""The exception for errors that the user can fix."""


class UserError(Exception):
    """Bad input or environment; the message is one line: where, what was expected, what was found, what to do.

    The stages print it without a traceback. Any other exception is a bug and keeps its traceback.
    """
