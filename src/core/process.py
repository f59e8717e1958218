"""Restores a normal process environment, whatever started the process."""

import argparse
import fcntl
import getpass
import io
import os
import signal
import sys


def prepare_process() -> None:
    """Restore signals, standard streams and the user's name; every command of the project calls this first."""
    _restore_signals()
    _open_streams()
    _name_user()


def take_no_arguments(module: str) -> None:
    """Reject arguments of a command that takes none; `--help` describes the command."""
    argparse.ArgumentParser(prog=f"python -m {module}", description=sys.modules["__main__"].__doc__).parse_args()


def _restore_signals() -> None:
    """Restore signals that a parent has ignored or blocked, and make those that end the program clean up first.

    If SIGCHLD is ignored, the system keeps no exit codes, and `subprocess` mistakes every failed child for a success. A
    blocked signal never arrives, so only SIGKILL could end the program. Ctrl-C and a closed terminal stay ignored if
    they were, as in the background and under nohup. No signal prints a traceback.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}
    for number in (signal.SIGTERM, *(one for one, handler in usual.items() if signal.getsignal(one) is handler)):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _open_streams() -> None:
    """Open streams that the caller has closed, and make every character of a path printable.

    Otherwise, the next file to be opened, such as a lock, would get the number of a closed stream, and libraries would
    write their messages into it.
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
    # These are None if the stream was closed.
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    # Libraries may have wrapped it by now.
    if isinstance(sys.__stdout__, io.TextIOWrapper):
        sys.__stdout__.reconfigure(errors="backslashreplace")


def _name_user() -> None:
    """Set the name of a user without one to the user ID, as in a container that runs under an arbitrary ID.

    DVC reads the name when it opens a repository, and fails if there is none.
    """
    try:
        getpass.getuser()
    except (KeyError, OSError):
        os.environ["USER"] = str(os.getuid())
