"""Which GPUs a stage computes on: the emptiest ones that no other stage has taken.

NVIDIA's management library (NVML) knows them before CUDA_VISIBLE_DEVICES is decided; the CUDA driver does not.
"""

from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pynvml

from src.core.errors import UserError
from src.core.lease import LEASES, Lease

VISIBLE = "CUDA_VISIBLE_DEVICES"
# What it names where there is no GPU; the last one is SLURM's.
HIDDEN = ("", "-1", "NoDevFiles")


def take_gpus(environ: MutableMapping[str, str], count: int = 1, folder: Path = LEASES) -> None:
    """Take the first visible GPUs that no other stage has taken until this process ends, and make only them visible.

    It must come before torch is imported. If too few are left, the first of the others are shared. Without NVML,
    everything stays as it is.

    Args:
        environ: Its CUDA_VISIBLE_DEVICES is set.
        count: How many the stage needs.
        folder: Where the files are that stand for the GPUs.

    Raises:
        UserError: If there are some, but fewer than `count`.
    """
    gpus = visible_gpus(environ)
    if not gpus:
        return
    if len(gpus) < count:
        raise UserError(
            f"{count} GPUs are needed, {len(gpus)} are visible ({VISIBLE}); start fewer processes, or train on the "
            "CPU: PL_TRAINER_ACCELERATOR=cpu dvc repro"
        )
    taken: list[str] = []
    for gpu in gpus:
        # Another user's file may be closed to this one.
        with suppress(OSError):
            if len(taken) < count and Lease(gpu, folder).take():
                taken.append(gpu)
    environ[VISIBLE] = ",".join([*taken, *(gpu for gpu in gpus if gpu not in taken)][:count])


def visible_gpus(environ: Mapping[str, str]) -> list[str]:
    """The GPUs that CUDA_VISIBLE_DEVICES names; without it, the UUIDs of all, those with the most free memory first.

    Each instance of a partitioned GPU (MIG) counts. Empty without NVML.
    """
    gpus = _by_free_memory()
    if gpus and VISIBLE in environ:
        return [name for name in map(str.strip, environ[VISIBLE].split(",")) if name not in HIDDEN]
    return gpus


def _by_free_memory() -> list[str]:
    free_bytes: dict[str, int] = {}
    # Without a driver there is no library; a batch system may have closed some GPUs.
    with suppress(pynvml.NVMLError):
        pynvml.nvmlInit()
        for index in range(pynvml.nvmlDeviceGetCount()):
            with suppress(pynvml.NVMLError):
                gpu = pynvml.nvmlDeviceGetHandleByIndex(index)
                for device in _instances(gpu) or [gpu]:
                    free_bytes[pynvml.nvmlDeviceGetUUID(device)] = pynvml.nvmlDeviceGetMemoryInfo(device).free
    return sorted(free_bytes, key=lambda uuid: free_bytes[uuid], reverse=True)


def _instances(gpu: Any) -> list[Any]:
    """The instances of a partitioned GPU; empty for a whole one."""
    instances = []
    with suppress(pynvml.NVMLError):
        for index in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(gpu)):
            with suppress(pynvml.NVMLError):
                instances.append(pynvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu, index))
    return instances
