"""Signals as a program expects to find them, whatever its parent has ignored or blocked."""

import signal


def restore_signals() -> None:
    """Undo what a parent has set; every command of the project calls this first.

    Where SIGCHLD is ignored, the system keeps no exit codes, and `subprocess` takes every failed child for a success. A
    signal that is blocked never arrives, so that SIGKILL alone would end the program. Ctrl-C and a closed terminal stay
    ignored, as in the background and under nohup.
    """
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
