"""Environment variables that would make a stage hang or fail; libraries read them when they are loaded."""

from collections.abc import MutableMapping

from src.model.accelerator import CHOICE

# oneDNN waits forever for the second of two threads where OpenMP was told to start fewer than it is asked for.
FEWER_THREADS = ("OMP_DYNAMIC", "OMP_MAX_ACTIVE_LEVELS", "OMP_THREAD_LIMIT")


def settle(environ: MutableMapping[str, str]) -> None:
    """Put an environment right before torch is imported."""
    for name in FEWER_THREADS:
        environ.pop(name, None)
    if environ.get(CHOICE) == "cpu":
        # A driver that is too old for CUDA must not matter where no GPU is wanted.
        environ["CUDA_VISIBLE_DEVICES"] = ""
