"""Runs a stage in several processes of this machine, which end together."""

import os
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from src.core.files import write_text
from src.guard.environment import COUNT, LAUNCHER, RANK, STORE, is_launched
from src.guard.starter import DVC_STAGE

SCRIPT = "stages/__main__.py"


def launch(stage: str, count: int) -> int:
    """Run a stage in `count` processes; returns the exit code.

    When one fails, the others are ended, and what it has reported is printed.
    """
    # DVC has started this process, not each of the others.
    environ = {name: value for name, value in os.environ.items() if name != DVC_STAGE}
    processes: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryDirectory() as folder:
        environ |= {LAUNCHER: str(os.getpid()), STORE: f"{folder}/store", COUNT: str(count)}
        try:
            for rank in range(count):
                # A group of their own: a signal to this process's group is its own to handle.
                group = processes[0].pid if processes else 0
                command = [sys.executable, "-I", SCRIPT, stage]
                processes.append(subprocess.Popen(command, env=environ | {RANK: str(rank)}, process_group=group))
            for _ in processes:
                # Of several that fail, the one that is first: the others may have failed because of it.
                ended = os.waitid(os.P_PGID, processes[0].pid, os.WEXITED)
                if ended and ended.si_status:
                    rank = [process.pid for process in processes].index(ended.si_pid)
                    _explain(stage, f"process {rank} of {count}", ended, Path(folder, str(rank)))
                    return 1
            return 0
        finally:
            with suppress(ProcessLookupError, IndexError):
                os.killpg(processes[0].pid, signal.SIGKILL)
            for process in processes:
                process.wait()


def report(line: str) -> None:
    """Print why a stage fails; if `launch` has started this process, it does so, once for all processes."""
    # The terminal may be closed.
    with suppress(OSError):
        if is_launched(os.environ):
            write_text(Path(os.environ[STORE]).with_name(os.environ[RANK]), line)
        else:
            print(line, file=sys.stderr, flush=True)  # noqa: T201 - the guard speaks for the stage


def _explain(stage: str, process: str, ended: os.waitid_result, reported: Path) -> None:
    if ended.si_code != os.CLD_EXITED:
        name = signal.Signals(ended.si_status).name
        report(f"{stage}: {process} was killed by {name}, so all end; the next run resumes after the last epoch")
    elif reported.exists():
        # Without a report, there is a traceback.
        report(reported.read_text(encoding="utf-8"))
