"""Locks on files in the temporary directory, which all users and repositories on a machine share."""

import fcntl
import os
from pathlib import Path

# The same for everybody, unless TMPDIR differs. Not tempfile.gettempdir(), which falls back to the current directory if
# there is no room.
LEASES = Path(os.environ.get("TMPDIR") or "/tmp")


class Lease:
    """Something on this machine that one process at a time may use; the kernel ends it with the process."""

    def __init__(self, name: str, folder: Path = LEASES) -> None:
        """Name what is leased; its file is created if missing.

        Raises:
            OSError: If the file cannot be opened.
        """
        path = folder / f"{name}.lock"
        # Opened for reading only, and created only if it is missing: another user's file in a temporary directory can
        # be locked then, but not otherwise.
        flags = os.O_RDONLY | os.O_NOFOLLOW | (0 if path.exists() else os.O_CREAT)
        self.file = os.open(path, flags, 0o644)

    def take(self) -> bool:
        """Take the lease, unless another process has it; taking it twice is no error."""
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def give(self) -> None:
        """Let another process have it."""
        fcntl.flock(self.file, fcntl.LOCK_UN)
