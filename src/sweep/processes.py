"""Processes that never outlive the sweep which started them."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

# From linux/prctl.h.
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)
# `dvc` needs that long to end a stage and to clean up.
GRACE_SECONDS = 2.0


def start(command: Sequence[str], folder: Path, log: Path, env: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    """Start a command in a process group of its own, with its output added to a log."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        output.write(f"$ {' '.join(command)}\n".encode())
        output.flush()
        return subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **env},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            process_group=0,
            preexec_fn=end_with_parent,
        )


def dvc(*arguments: str) -> list[str]:
    """A dvc command of this Python."""
    return [sys.executable, "-P", "-m", "dvc", *arguments]


def end(process: "subprocess.Popen[bytes]") -> None:
    """End a process with all that it has started, if it runs: as Ctrl-C does, and at once if that takes too long."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        process.wait(GRACE_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def end_with_parent() -> None:
    """Run in a child before its program: the kernel kills it when this process ends, however it ends."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # Inherited by programs that a script starts in the background; `dvc` cleans up on Ctrl-C.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
