"""The environment variables that choose devices and processes, and those that would make a stage hang or fail."""

import re
from collections.abc import MutableMapping
from dataclasses import dataclass

from src.core.errors import UserError
from src.guard.gpus import VISIBLE

# Lightning would read any argument of its Trainer from such a variable, including the number of epochs. The number of
# processes does not change a result, because the params determine the shards.
PREFIX = "PL_TRAINER_"
ACCELERATOR, DEVICES = f"{PREFIX}ACCELERATOR", f"{PREFIX}DEVICES"
ACCELERATORS = ("auto", "cpu", "cuda", "gpu")
# Variables that torchrun sets for each process.
RUN_ID, ERROR_FILE = "TORCHELASTIC_RUN_ID", "TORCHELASTIC_ERROR_FILE"
NUMBERS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_PORT")
TORCHRUN = (*NUMBERS, "MASTER_ADDR", RUN_ID, ERROR_FILE, "GROUP_RANK", "NODE_RANK", "TORCHELASTIC_USE_AGENT_STORE")
# oneDNN waits forever for the second of two threads if OpenMP is limited to fewer than requested. A stack that is
# too large for the machine ends the process when the first thread starts. matplotlib cannot be imported with an unknown
# backend.
HARMFUL = ("OMP_DYNAMIC", "OMP_MAX_ACTIVE_LEVELS", "OMP_THREAD_LIMIT", "OMP_STACKSIZE", "GOMP_STACKSIZE", "MPLBACKEND")
# How often a thread polls for the others before it sleeps. The default of 300,000 blocks its core for everything else
# on the machine, including the thread that it waits for. Sleeping sooner slows down training on idle cores;
# benchmarks/history.md has the figures.
SPINS = "5000"


@dataclass(frozen=True)
class Devices:
    """The devices and processes of a stage.

    Attributes:
        accelerator: Lightning's name of a device; `auto` uses a GPU if there is one.
        processes: Number of processes that train together.
        rank: Rank of this process; only process 0 writes outputs. None: the processes are not started yet.
    """

    accelerator: str = "auto"
    processes: int = 1
    rank: int | None = None


def chosen_devices(environ: MutableMapping[str, str], *, is_shared: bool) -> Devices:
    """Read the requested device and processes from the environment.

    torchrun's variables apply only if all are set, since some may be left over from elsewhere. If they do not apply,
    they are removed, so that no library waits for processes that are never started.

    Args:
        environ: The variables.
        is_shared: Whether several processes may run the stage together.

    Raises:
        UserError: If a variable is not allowed, has an invalid value, or contradicts torchrun's.
    """
    others = sorted(name for name in environ if name.startswith(PREFIX) and name not in (ACCELERATOR, DEVICES))
    if others:
        raise UserError(f"{', '.join(others)}: expected no {PREFIX} variable but {ACCELERATOR}, {DEVICES}; unset it")
    accelerator, devices = environ.get(ACCELERATOR, "auto"), environ.get(DEVICES, "1")
    if accelerator not in ACCELERATORS:
        raise UserError(f"{ACCELERATOR}: expected one of {', '.join(ACCELERATORS)}, got {accelerator!r}")
    if not re.fullmatch("[1-9][0-9]{0,3}", devices):
        raise UserError(f"{DEVICES}: expected a whole number of at least 1, got {devices!r}")
    numbers = [environ.get(name, "") for name in NUMBERS]
    is_complete = RUN_ID in environ and all(re.fullmatch("[0-9]{1,5}", number) for number in numbers)
    rank, count = map(int, numbers[:2]) if is_complete else (0, 1)
    if DEVICES in environ and count > 1 and int(devices) != count:
        raise UserError(f"{DEVICES} is {devices}, but torchrun started {count} processes; unset it")
    if count > 1 and is_shared:
        return Devices(accelerator, count, rank)
    for name in TORCHRUN:
        environ.pop(name, None)
    return Devices(accelerator, count if count > 1 else int(devices))


def sanitize(environ: MutableMapping[str, str]) -> None:
    """Make threads share the cores, and remove harmful variables; must run before torch is imported."""
    for name in HARMFUL:
        environ.pop(name, None)
    if "OMP_WAIT_POLICY" not in environ:
        environ.setdefault("GOMP_SPINCOUNT", SPINS)
    if environ.get(ACCELERATOR) == "cpu":
        # Without a GPU, a driver that is too old for CUDA must not matter.
        environ[VISIBLE] = ""
