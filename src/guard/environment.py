"""The environment variables that choose devices and processes, and those that would make a stage hang or fail."""

import os
import re
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass

from src.core.errors import UserError
from src.guard.gpus import VISIBLE

# Lightning would read any argument of its Trainer from such a variable, including the number of epochs. The number of
# processes does not change a result: the params fix the shards that they compute.
PREFIX = "PL_TRAINER_"
ACCELERATOR, DEVICES = f"{PREFIX}ACCELERATOR", f"{PREFIX}DEVICES"
ACCELERATORS = ("auto", "cpu", "cuda", "gpu", "mps")
# What src.guard.launcher tells each of several processes: its number, how many there are, the process that has started
# them, and a file in which they find each other, with reports beside it.
RANK, COUNT, LAUNCHER, STORE = "RANK", "WORLD_SIZE", "STAGE_LAUNCHER", "STAGE_STORE"
# Any other launcher may have left these. Libraries would wait for processes that nobody starts.
STRAYS = (RANK, COUNT, STORE, "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT")
TORCHRUN = "TORCHELASTIC_RUN_ID"
# oneDNN waits forever for the second of two threads if OpenMP is limited to fewer than requested. A stack that is
# too large for the machine ends the process when the first thread starts. matplotlib refuses to be imported with a
# backend that it does not know.
HARMFUL = ("OMP_DYNAMIC", "OMP_MAX_ACTIVE_LEVELS", "OMP_THREAD_LIMIT", "OMP_STACKSIZE", "GOMP_STACKSIZE", "MPLBACKEND")
# How often a thread looks whether the others are done before it sleeps. By default, it looks 300,000 times, which keeps
# whatever else runs on the machine from its core, the thread that it waits for included. Sleeping sooner slows down a
# training on idle cores: benchmarks/history.md has the figures.
SPINS = "30000"


@dataclass(frozen=True)
class Devices:
    """What a stage computes on.

    Attributes:
        accelerator: Lightning's name of a device; `auto` takes a GPU where there is one.
        processes: How many train together.
        rank: Number of this process among them; process 0 alone writes outputs. None: they are not started yet.
    """

    accelerator: str = "auto"
    processes: int = 1
    rank: int | None = None


def chosen_devices(environ: MutableMapping[str, str]) -> Devices:
    """The device and the processes that the environment asks for; removes what another launcher has left there.

    Raises:
        UserError: If a variable is none that it may set, or has a bad value.
    """
    others = sorted(name for name in environ if name.startswith(PREFIX) and name not in (ACCELERATOR, DEVICES))
    if others:
        raise UserError(f"{', '.join(others)}: expected no {PREFIX} variable but {ACCELERATOR}, {DEVICES}; unset it")
    accelerator, devices = environ.get(ACCELERATOR, "auto"), environ.get(DEVICES, "1")
    if accelerator not in ACCELERATORS:
        raise UserError(f"{ACCELERATOR}: expected one of {', '.join(ACCELERATORS)}, got {accelerator!r}")
    if not re.fullmatch("[1-9][0-9]{0,3}", devices):
        raise UserError(f"{DEVICES}: expected a whole number of at least 1, got {devices!r}")
    if TORCHRUN in environ:
        raise UserError(f"torchrun cannot start a stage or dvc; run `{DEVICES}=N dvc repro`, or unset {TORCHRUN}")
    if is_launched(environ):
        return Devices(accelerator, int(environ[COUNT]), int(environ[RANK]))
    for name in STRAYS:
        environ.pop(name, None)
    return Devices(accelerator, int(devices))


def is_launched(environ: Mapping[str, str]) -> bool:
    """Whether src.guard.launcher has started this process, with others."""
    return environ.get(LAUNCHER) == str(os.getppid())


def sanitize(environ: MutableMapping[str, str]) -> None:
    """Make threads share the cores, and remove what would make a stage hang or fail; before torch is imported."""
    for name in HARMFUL:
        environ.pop(name, None)
    if "OMP_WAIT_POLICY" not in environ:
        environ.setdefault("GOMP_SPINCOUNT", SPINS)
    if environ.get(ACCELERATOR) == "cpu":
        # If no GPU is wanted, a driver that is too old for CUDA must not matter.
        environ[VISIBLE] = ""
