"""Ends a stage when what started it ends."""

import os
import signal
import threading
import time

import psutil

from src.core.errors import UserError
from src.mnist.model.processes import Processes

POLL_SECONDS = 0.5
# DVC sets it for the commands that it runs.
DVC_STAGE = "DVC_STAGE"


def end_with_starter(processes: Processes) -> None:
    """End this process when the `dvc` that started it ends: without it, nothing would store the results.

    One of several processes ends with what started them.

    Raises:
        UserError: If that `dvc` has ended already.
    """
    if DVC_STAGE not in os.environ and processes.count == 1:
        return
    started_by = _ancestors()
    try:
        group = os.getpgid(started_by[-1])
    except ProcessLookupError:
        group = None
    # A child is in its parent's process group, unless the parent has died and another process adopted the child.
    if DVC_STAGE in os.environ and group != os.getpgrp():
        raise UserError("dvc ended before the stage began; run `dvc repro` again")

    def watch() -> None:
        while _ancestors() == started_by:
            time.sleep(POLL_SECONDS)
        # Immediately; the checkpoint keeps what was done so far.
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def _ancestors() -> list[int]:
    """Ids of this process's ancestors up to `dvc`, which runs commands through a shell; some shells stay in between."""
    parent = os.getppid()
    try:
        shell = psutil.Process(parent)
        return [parent, shell.ppid()] if shell.cmdline()[-2:-1] == ["-c"] else [parent]
    except psutil.Error:
        return [os.getppid()]
