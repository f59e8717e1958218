"""A lock file that one process holds at a time."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from src.core.errors import UserError

POLL_SECONDS = 0.1


@contextmanager
def locked(path: Path, otherwise: str, wait_seconds: float = 0.0) -> Iterator[None]:
    """Hold a lock; the kernel releases it when the process ends, for any reason.

    Args:
        path: The lock file, which contains the ID of its process; created if missing.
        otherwise: The rest of the error message: what the other process does, and the advice.
        wait_seconds: Timeout for a process that is about to end.

    Raises:
        UserError: If another process holds the lock for longer, or the file system does not support locks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        deadline = time.monotonic() + wait_seconds
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    file.seek(0)
                    raise UserError(f"process {file.read()} {otherwise}") from None
            except OSError as error:
                raise UserError(
                    f"{path}: this file system has no locks ({error.strerror}); move the repository to a local disk, "
                    "or mount it with locks (NFS: `local_lock=flock`)"
                ) from error
            time.sleep(POLL_SECONDS)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
