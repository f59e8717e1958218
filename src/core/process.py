"""A process as a program expects it, whatever has started it."""

import argparse
import fcntl
import getpass
import io
import os
import signal
import sys


def prepare_process() -> None:
    """Undo what a parent has set, and give what it has left out; every command of the project calls this first."""
    _restore_signals()
    _open_streams()
    _name_user()


def take_no_arguments(module: str) -> None:
    """End a command that takes no arguments if it was given some; `--help` says what it does."""
    argparse.ArgumentParser(prog=f"python -m {module}", description=sys.modules["__main__"].__doc__).parse_args()


def _restore_signals() -> None:
    """Undo what a parent has ignored and blocked.

    Where SIGCHLD is ignored, the system keeps no exit codes, and `subprocess` takes every failed child for a success. A
    signal that is blocked never arrives, so that SIGKILL alone would end the program. Ctrl-C and a closed terminal stay
    ignored, as in the background and under nohup. Otherwise Ctrl-C ends the program without a traceback.
    """
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda number, _: sys.exit(128 + number))
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _open_streams() -> None:
    """Open the streams that the caller has closed, and make every character of a path printable.

    A closed stream's number would go to the next file that is opened, such as a lock, and libraries would write their
    messages into it.
    """
    for number in range(3):
        try:
            mode = fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE
        except OSError:
            mode = None
        # SQLite, which dvc uses, opens a null device in a closed stream's place that can only be read.
        if mode is None or (number and mode == os.O_RDONLY):
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, number)
            if null > 2:
                os.close(null)
    # Python has none where the stream was closed.
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _name_user() -> None:
    """Name a user without a name by number, as in a container that runs under a number of its own.

    DVC asks for the name when it opens a repository, and ends with a KeyError if there is none.
    """
    try:
        getpass.getuser()
    except (KeyError, OSError):
        os.environ["USER"] = str(os.getuid())
