"""Environment variables that would make a stage hang, fail or crowd a GPU; libraries read them when they are loaded."""

from collections.abc import MutableMapping

from src.guard.gpu_lease import lease_gpus
from src.guard.gpus import VISIBLE
from src.model.accelerator import CHOICE

# oneDNN waits forever for the second of two threads if OpenMP was told to start fewer than requested. A stack that is
# too large for the machine ends the process when the first thread starts.
FEWER_THREADS = ("OMP_DYNAMIC", "OMP_MAX_ACTIVE_LEVELS", "OMP_THREAD_LIMIT", "OMP_STACKSIZE", "GOMP_STACKSIZE")
# The stages that compute with torch.
COMPUTING = ("train", "evaluate")


def settle(environ: MutableMapping[str, str]) -> None:
    """Correct an environment; call it before torch is imported."""
    for name in FEWER_THREADS:
        environ.pop(name, None)
    if environ.get(CHOICE) == "cpu":
        # If no GPU is wanted, a driver that is too old for CUDA must not matter.
        environ[VISIBLE] = ""


def take_gpu(stage: str, environ: MutableMapping[str, str]) -> None:
    """Make only the GPU visible that the stage shall use, and lease it; call it before torch is imported.

    Raises:
        UserError: If GPUs are visible, but none can be used.
    """
    if stage in COMPUTING and environ.get(CHOICE) != "cpu":
        lease_gpus(environ)
