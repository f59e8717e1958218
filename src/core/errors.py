"""The one exception that a user can mend."""


class UserError(Exception):
    """Bad input or surroundings; the message is one line: where, what was expected, what was found, what to do.

    The stages print it without a traceback. Everything else keeps its traceback, since it is a defect of the program.
    """
