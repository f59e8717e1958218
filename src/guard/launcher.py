"""Starts, watches and ends the other processes of a stage that runs in several."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager, suppress
from dataclasses import replace

from src.core.errors import UserError
from src.mnist.model.processes import LEADER, LOOPBACK, Processes

POLL_SECONDS = 0.2
# How long the main thread may take to notice that a process has ended, and how long the others may take to end.
GRACE_SECONDS = 3.0
END_SECONDS = 60.0


@contextmanager
def other_processes(
    stage: str, processes: Processes, threads: int, environ: MutableMapping[str, str]
) -> Iterator[None]:
    """Start the other processes of a stage, unless torchrun or srun has done that; before torch is imported.

    If one fails, the stage fails; if this one ends, so do the others, because they watch it.

    Args:
        stage: Its name.
        processes: Which processes there are.
        threads: CPU threads of each.
        environ: Describes them to the stage; is changed.

    Raises:
        UserError: If one of them fails.
    """
    _share_cores(processes, threads, environ)
    if processes.count == 1 or processes.launcher:
        yield
        return
    children = _start(stage, processes, environ)
    done = threading.Event()
    threading.Thread(target=_watch, args=(stage, children, done), daemon=True).start()
    try:
        yield
        with suppress(subprocess.TimeoutExpired):
            for child in children:
                child.wait(END_SECONDS)
        if failure := _failure(children):
            raise UserError(failure)
        if any(child.poll() is None for child in children):
            raise UserError(f"the other processes do not end within {END_SECONDS:.0f} s; run again to resume")
    except RuntimeError as error:
        # A lost connection is how this process learns that another one has ended.
        done.wait(POLL_SECONDS)
        if failure := _failure(children):
            raise UserError(failure) from error
        raise
    finally:
        done.set()
        for child in children:
            child.kill()
            child.wait()


def _share_cores(processes: Processes, threads: int, environ: MutableMapping[str, str]) -> None:
    """Let waiting threads sleep if there are more threads than cores: spinning, they would keep others from working."""
    if processes.count > 1 and processes.local_count * threads > len(os.sched_getaffinity(0)):
        environ.setdefault("OMP_WAIT_POLICY", "passive")


def _start(stage: str, processes: Processes, environ: MutableMapping[str, str]) -> list[subprocess.Popen[bytes]]:
    """Start this stage once more for each rank above 0."""
    with socket.create_server((LOOPBACK, 0)) as server:
        port = server.getsockname()[1]
    environ.update({LEADER: str(os.getpid()), "MASTER_ADDR": LOOPBACK, "MASTER_PORT": str(port), **_ranks(processes)})
    command = [sys.executable, "-I", "stages/__main__.py", stage]
    return [
        subprocess.Popen(command, env={**environ, **_ranks(replace(processes, rank=rank, local_rank=rank))})
        for rank in range(1, processes.count)
    ]


def _ranks(processes: Processes) -> dict[str, str]:
    """The variables that torchrun would set."""
    return {
        "RANK": str(processes.rank),
        "WORLD_SIZE": str(processes.count),
        "LOCAL_RANK": str(processes.local_rank),
        "LOCAL_WORLD_SIZE": str(processes.local_count),
    }


def _watch(stage: str, children: list[subprocess.Popen[bytes]], done: threading.Event) -> None:
    """End this process if another fails and the main thread, waiting in a library, does not notice."""
    while not done.wait(POLL_SECONDS):
        if (failure := _failure(children)) and not done.wait(GRACE_SECONDS):
            os.write(2, f"{stage}: {failure}\n".encode())
            for child in children:
                child.kill()
            os._exit(1)


def _failure(children: list[subprocess.Popen[bytes]]) -> str:
    """How the first failed process ended; empty if none has failed."""
    for rank, child in enumerate(children, start=1):
        code = child.poll()
        if code:
            how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            return f"process {rank} of {len(children) + 1} {how}, so all end; the next run resumes after the last epoch"
    return ""
