"""Errors that the user can fix, in one line each."""


class UserError(Exception):
    """Bad input or environment; the message is one line: where, what was expected, what was found, what to do.

    The stages print it without a traceback. Any other exception is a bug and keeps its traceback.
    """


def one_line(error: Exception) -> str:
    """The message of another library's error, without its line breaks."""
    return " ".join(str(error).split())
