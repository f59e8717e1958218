"""Identifies the process that started this one, and ends this process with it."""

import ctypes
import os
import signal

from src.core.errors import UserError
from src.guard.environment import RUN_ID

# DVC sets this variable for the commands that it runs.
DVC_STAGE = "DVC_STAGE"
# From <linux/prctl.h>.
PR_SET_PDEATHSIG = 1


def end_with_starter(stage: str) -> None:
    """Make the system kill this process when its parent ends; the checkpoint preserves its progress.

    The parent is `dvc`, whose shell becomes this process by `exec` in dvc.yaml, or the launcher of several processes.

    Raises:
        UserError: If the parent has already ended, or if both torchrun and DVC start the stage.
    """
    by_dvc, by_torchrun = DVC_STAGE in os.environ, RUN_ID in os.environ
    if by_dvc and by_torchrun:
        raise UserError(
            f"both torchrun and dvc start it; set PL_TRAINER_DEVICES for dvc, or let torchrun start "
            f"`python -m stages {stage}`, then run `dvc commit {stage}`"
        )
    if by_dvc or by_torchrun:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # A child is in its parent's process group, unless the parent has died and another process adopted the child.
    if by_dvc and os.getpgid(os.getppid()) != os.getpgrp():
        raise UserError("dvc ended before the stage began; run `dvc repro` again")
    if os.environ.get(RUN_ID, "").startswith(run_id("")) and not is_launched():
        raise UserError("the process that started this one has ended; run `dvc repro` again")


def is_launched() -> bool:
    """Whether src.guard.launcher started this process."""
    return os.environ.get(RUN_ID) == run_id(os.getppid())


def run_id(pid: int | str) -> str:
    """Run ID of the processes started by the launcher in process `pid`."""
    return f"stage-{pid}"
