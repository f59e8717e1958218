"""Runs a stage in several processes of this machine, started and watched by torchrun."""

import logging
import os
import signal
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from src.core.files import write_json
from src.guard.environment import ERROR_FILE
from src.guard.starter import DVC_STAGE, is_launched, run_id

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

SCRIPT = "stages/__main__.py"
LOOPBACK = "127.0.0.1"


def launch(stage: str, count: int) -> int:
    """Run a stage in `count` processes and return the exit code.

    If a process fails, the others are ended, and its report is printed.
    """
    # Imported here because it takes a second, and must follow the choice of GPUs.
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    # DVC started this process, but not the others.
    os.environ.pop(DVC_STAGE, None)
    # It would print thirty lines about a failure.
    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL + 1)
    with tempfile.TemporaryDirectory() as folder:
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=count,
            run_id=run_id(os.getpid()),
            rdzv_backend="c10d",
            rdzv_endpoint=f"{LOOPBACK}:0",
            local_addr=LOOPBACK,
            max_restarts=0,
            logs_specs=DefaultLogsSpecs(folder),
            # Keep the guard's own handlers.
            signals_to_handle="",
        )
        try:
            elastic_launch(config, sys.executable)("-I", SCRIPT, stage)
        except ChildFailedError as error:
            explain_failures(stage, count, error.failures)
            return 1
    return 0


def report(line: str) -> None:
    """Print why a stage fails; in a process started by `launch`, leave printing to the launcher."""
    # The terminal may be closed.
    with suppress(OSError):
        if is_launched():
            write_json(Path(os.environ[ERROR_FILE]), {"message": line})
        else:
            print(line, file=sys.stderr, flush=True)  # noqa: T201 - the guard speaks for the stage


def explain_failures(stage: str, count: int, failures: "Mapping[int, ProcessFailure]") -> None:
    """Print the report of the process that failed first."""
    # torchrun ends the other processes with SIGTERM, some before they can report anything.
    ended = (-signal.SIGTERM, 128 + signal.SIGTERM)
    first = min(failures, key=lambda rank: (failures[rank].exitcode in ended, _reported_ns(failures[rank])))
    failure = failures[first]
    if failure.exitcode < 0:
        killed = f"process {first} of {count} was killed by {failure.signal_name()}"
        report(f"{stage}: {killed}, so all end; the next run resumes after the last epoch")
    elif _reported_ns(failure):
        # Without a report, the process has printed a traceback.
        report(failure.message)


def _reported_ns(failure: "ProcessFailure") -> int:
    """Time of a process's failure report; 0 without one, since its crash may have made the others fail."""
    file = Path(failure.error_file)
    return file.stat().st_mtime_ns if file.exists() else 0
