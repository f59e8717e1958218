"""Ends the process when what has started it ends."""

import ctypes
import os
import signal

from src.core.errors import UserError
from src.guard.environment import LAUNCHER, is_launched

# DVC sets it for the commands that it runs.
DVC_STAGE = "DVC_STAGE"
# A number from <linux/prctl.h>.
PR_SET_PDEATHSIG = 1


def end_with_starter() -> None:
    """Let the system end this process with its parent; the checkpoint keeps what was done so far.

    The parent is `dvc`, whose shell becomes this process by `exec` in dvc.yaml, or what has started several processes.

    Raises:
        UserError: If that has ended already.
    """
    if DVC_STAGE not in os.environ and LAUNCHER not in os.environ:
        return
    # Linux has it. Elsewhere the stage goes on to its end.
    if prctl := getattr(ctypes.CDLL(None), "prctl", None):
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # A child is in its parent's process group, unless the parent has died and another process adopted the child.
    if DVC_STAGE in os.environ and _parents_group() != os.getpgrp():
        raise UserError("dvc ended before the stage began; run `dvc repro` again")
    if LAUNCHER in os.environ and not is_launched(os.environ):
        raise UserError("the process that started this one has ended; run `dvc repro` again")


def _parents_group() -> int | None:
    try:
        return os.getpgid(os.getppid())
    except ProcessLookupError:
        return None
