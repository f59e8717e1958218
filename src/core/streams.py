"""Standard streams that a program can always write to."""

import io
import os
import sys


def open_streams() -> None:
    """Open the streams that the caller has closed, and make every character of a path printable.

    A closed stream's number would go to the next file that is opened, such as a lock, and libraries would write their
    messages into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    # Python has none where the stream was closed.
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
