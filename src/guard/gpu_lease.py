"""Which GPUs a stage computes on: two stages share one only if no other is free."""

import fcntl
import os
from collections.abc import MutableMapping
from pathlib import Path

from src.guard.driver import cuda_of_torch
from src.guard.gpus import VISIBLE, Gpu, usable_gpus

# The same for all users and repositories on a machine, unless TMPDIR differs. Not tempfile.gettempdir(), which falls
# back to the current directory if there is no room.
LEASES = Path(os.environ.get("TMPDIR") or "/tmp")


def lease_gpus(environ: MutableMapping[str, str], count: int = 1) -> list[int]:
    """Choose the emptiest GPUs that no other stage has leased and make only them visible; before torch is imported.

    Without NVML or a torch with CUDA, everything stays as it is. If too few are free of leases, the emptiest others are
    shared.

    Args:
        environ: Its CUDA_VISIBLE_DEVICES lists the visible GPUs; it is changed.
        count: How many the stage needs.

    Returns:
        Open files that hold the leases. The kernel ends a lease when the process ends, however it ends.

    Raises:
        UserError: If some are visible, but fewer than `count` can be used.
    """
    if cuda_of_torch() is None:
        return []
    files: list[int] = []
    leased: list[Gpu] = []
    others: list[Gpu] = []
    for gpu in usable_gpus(environ, count):
        file = _lock(gpu.uuid) if len(leased) < count else None
        if file is None:
            others.append(gpu)
        else:
            files.append(file)
            leased.append(gpu)
    if chosen := (leased + others)[:count]:
        environ[VISIBLE] = ",".join(gpu.uuid for gpu in chosen)
    return files


def _lock(uuid: str) -> int | None:
    """Lock the file of a GPU; None if another process has locked it."""
    path = LEASES / f"{uuid}.lock"
    try:
        # Opened for reading only: another user's file in a temporary directory can be locked, but not opened to write.
        file = _open(path)
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(file)
        return None
    return file


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        # Not truncated if another process creates it meanwhile; readable for all users, regardless of the umask.
        file = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        os.fchmod(file, 0o644)
        return file
