"""Limits for the report's process: whatever a branch causes, it ends in time, within its memory, and without a pass."""

import os
import re
import resource
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path

MAX_BYTES = 400_000_000  # Additional data of this process since its start, and data of every git process.
UNKNOWN, BROKEN, OUT_OF_MEMORY = 2, 3, 4


def supervise(run: Callable[[], int], give_up: Callable[[str], object], seconds: int) -> int:
    """Run a function in a child process, and kill it with all its descendants at the end.

    Args:
        run: Returns an exit code.
        give_up: Called with the reason if `run` times out or ends without an exit code.
        seconds: Timeout, at least 1.

    Returns:
        The exit code of `run`, or 2.
    """
    child = get_context("fork").Process(target=_become_child, args=(run, seconds))
    child.start()
    assert child.pid
    # Both processes set the group, so that it exists before either continues. It fails here if the child has ended.
    with suppress(OSError):
        os.setpgid(child.pid, child.pid)
    try:
        child.join(seconds)
        code = child.exitcode
    finally:
        # This includes git processes of the child, which are in its group.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
        child.join()
    if code in (0, 1, UNKNOWN):
        return int(code)
    reasons = {
        None: f"took more than {seconds} seconds, which the report allows no branch",
        BROKEN: "the report itself broke; see the traceback",
        OUT_OF_MEMORY: f"took more than {MAX_BYTES:,} bytes of memory, which the report allows no branch",
    }
    give_up(reasons.get(code, f"the report's process ended with {code}, perhaps for lack of memory"))
    return UNKNOWN


def _become_child(run: Callable[[], int], seconds: int) -> None:
    code = UNKNOWN
    try:
        os.setpgid(0, 0)
        # The parent, which would end this process, may be killed.
        signal.alarm(2 * seconds)
        _limit_memory()
        code = run()
    except MemoryError:
        code = OUT_OF_MEMORY
    except Exception:
        traceback.print_exc()
        code = BROKEN
    finally:
        with suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _limit_memory() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    status = Path("/proc/self/status")
    found = re.search(r"VmData:\s+(\d+) kB", status.read_text(encoding="utf-8")) if status.exists() else None
    most = MAX_BYTES + (1024 * int(found[1]) if found else 0)
    resource.setrlimit(resource.RLIMIT_DATA, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
