"""Locks on files in the temporary directory, which all users and repositories on a machine share."""

import fcntl
import os
from pathlib import Path

# Shared by all users, unless TMPDIR differs. Not tempfile.gettempdir(), which falls back to the current directory if
# the disk is full.
LEASES = Path(os.environ.get("TMPDIR") or "/tmp")


class Lease:
    """A resource of this machine for one process at a time; the kernel releases it when the process ends."""

    def __init__(self, name: str, folder: Path = LEASES) -> None:
        """Open the file of a named resource; it is created if missing.

        Raises:
            OSError: If the file cannot be opened.
        """
        path = folder / f"{name}.lock"
        # Opened read-only, and created only if missing, because another user's file in a temporary directory cannot be
        # opened otherwise.
        flags = os.O_RDONLY | os.O_NOFOLLOW | (0 if path.exists() else os.O_CREAT)
        self.file = os.open(path, flags, 0o644)

    def take(self) -> bool:
        """Take the lease unless another process has it; taking it twice is allowed.

        Raises:
            OSError: If the file system does not support locks.
        """
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def give(self) -> None:
        """Release the lease."""
        fcntl.flock(self.file, fcntl.LOCK_UN)
