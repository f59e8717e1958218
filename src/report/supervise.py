"""The last resort: whatever a branch makes the report do, it ends in time, within its memory, and not with a pass."""

import os
import re
import resource
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

MAX_BYTES = 400_000_000  # of data of this process, more than at its start, and of every git that it starts
GRACE_SECONDS = 5.0
POLL_SECONDS = 0.02
UNKNOWN = 2


def supervise(run: Callable[[], int], give_up: Callable[[str], object], seconds: float) -> int:
    """Run a function in a process of its own, and end it with everything that it started.

    Args:
        run: Gives an exit code.
        give_up: Called with the reason if it ends in another way, or not in time.
        seconds: How long it may take; it should end by itself before.

    Returns:
        Its exit code, or 2.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        _become_child(run)
    reason, code = "", None
    try:
        code = _wait(child, seconds + GRACE_SECONDS)
        if code is None:
            reason = f"took more than {seconds:g} seconds, which the report allows no branch"
        elif code not in (0, 1, UNKNOWN):
            reason = f"the report's process ended with {code}, perhaps for lack of memory"
    finally:
        # With the child, its git processes: they are in its group.
        for target in (os.killpg, os.kill):
            with suppress(ProcessLookupError, PermissionError):
                target(child, signal.SIGKILL)
        if code is None:
            os.waitpid(child, 0)
    if reason:
        give_up(reason)
        return UNKNOWN
    return code if code is not None else UNKNOWN


def _become_child(run: Callable[[], int]) -> None:
    code = UNKNOWN
    try:
        os.setpgid(0, 0)
        _limit_memory()
        code = run()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _limit_memory() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    status = Path("/proc/self/status")
    found = re.search(r"VmData:\s+(\d+) kB", status.read_text(encoding="utf-8")) if status.exists() else None
    most = MAX_BYTES + (1024 * int(found[1]) if found else 0)
    resource.setrlimit(resource.RLIMIT_DATA, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def _wait(child: int, seconds: float) -> int | None:
    """Exit code of a child, negative for a signal; None if it still runs."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(POLL_SECONDS)
    return None
