"""Errors that the user can fix, each in one line."""


class UserError(Exception):
    """Invalid input or environment; the message is one line: where, expected, got, what to do.

    Stages print it without a traceback. Any other exception is a bug and keeps its traceback.
    """


def one_line(error: Exception) -> str:
    """The message of another library's error, without its line breaks."""
    return " ".join(str(error).split())
