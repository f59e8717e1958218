"""Environment variables that would make a stage hang or fail; libraries read them when they are loaded."""

from collections.abc import MutableMapping

from src.model.accelerator import CHOICE

# oneDNN waits forever for the second of two threads if OpenMP was told to start fewer than requested.
FEWER_THREADS = ("OMP_DYNAMIC", "OMP_MAX_ACTIVE_LEVELS", "OMP_THREAD_LIMIT")


def settle(environ: MutableMapping[str, str]) -> None:
    """Correct an environment; call it before torch is imported."""
    for name in FEWER_THREADS:
        environ.pop(name, None)
    if environ.get(CHOICE) == "cpu":
        # If no GPU is wanted, a driver that is too old for CUDA must not matter.
        environ["CUDA_VISIBLE_DEVICES"] = ""
