"""Corrects environment variables that would make a stage hang, fail or share a GPU; libraries read them when loaded."""

from collections.abc import MutableMapping

from src.guard.gpu_lease import lease_gpus
from src.guard.gpus import VISIBLE
from src.mnist.model.accelerator import CHOICE
from src.mnist.model.processes import Processes

# oneDNN waits forever for the second of two threads if OpenMP is limited to fewer than requested. A stack that is
# too large for the machine ends the process when the first thread starts.
FEWER_THREADS = ("OMP_DYNAMIC", "OMP_MAX_ACTIVE_LEVELS", "OMP_THREAD_LIMIT", "OMP_STACKSIZE", "GOMP_STACKSIZE")
# How often a thread looks whether the others are done before it sleeps. By default, it looks 300,000 times, which keeps
# whatever else runs on the machine from its core, the thread that it waits for included. Sleeping at once, as with
# OMP_WAIT_POLICY=PASSIVE, costs a training on an idle machine 22 to 28%; 1,000 times cost nothing to 3%.
SPINS = "1000"
# The stages that compute with torch.
COMPUTING = ("train", "evaluate")
# Launchers set these for each of several processes. Without a launcher's own mark, they are left over from something
# else, and libraries would wait for processes that are never started.
RANKS = (
    "RANK",
    "LOCAL_RANK",
    "WORLD_SIZE",
    "LOCAL_WORLD_SIZE",
    "NODE_RANK",
    "GROUP_RANK",
    "MASTER_ADDR",
    "MASTER_PORT",
)


def sanitize(environ: MutableMapping[str, str]) -> None:
    """Make threads share the cores, and remove what would make a stage hang or fail; before torch is imported."""
    for name in FEWER_THREADS:
        environ.pop(name, None)
    if "OMP_WAIT_POLICY" not in environ:
        environ.setdefault("GOMP_SPINCOUNT", SPINS)
    if environ.get(CHOICE) == "cpu":
        # If no GPU is wanted, a driver that is too old for CUDA must not matter.
        environ[VISIBLE] = ""


def take_gpus(stage: str, processes: Processes, environ: MutableMapping[str, str]) -> None:
    """Make only the GPUs visible that the stage should use, and lease them; call it before torch is imported.

    Other processes of the stage inherit what the first one has leased; torchrun and srun come with GPUs of their own.

    Raises:
        UserError: If GPUs are visible, but fewer can be used than there are processes.
    """
    if stage in COMPUTING and not processes.launcher and environ.get(CHOICE) != "cpu":
        lease_gpus(environ, processes.local_count)


def forget_ranks(environ: MutableMapping[str, str]) -> None:
    """Remove variables about other processes of a run; call it where there are none."""
    for name in RANKS:
        environ.pop(name, None)
