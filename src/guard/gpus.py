"""The choice of a stage's GPUs: those with the most free memory that no other stage has taken.

NVIDIA's management library (NVML) can list GPUs before CUDA_VISIBLE_DEVICES is set; the CUDA driver cannot.
"""

from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pynvml

from src.core.errors import UserError
from src.core.lease import LEASES, Lease

VISIBLE = "CUDA_VISIBLE_DEVICES"
# Values that mean no GPU; SLURM sets the last one.
HIDDEN = ("", "-1", "NoDevFiles")


def take_gpus(environ: MutableMapping[str, str], count: int = 1, folder: Path = LEASES) -> None:
    """Lease the first visible GPUs that are free until this process ends, and make only them visible.

    This must happen before torch is imported. If too few are free, the first of the others are shared. Without NVML,
    nothing changes.

    Args:
        environ: Environment whose CUDA_VISIBLE_DEVICES is set.
        count: Number of GPUs that the stage needs.
        folder: Folder of the lease files.

    Raises:
        UserError: If there are GPUs, but fewer than `count`.
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
        # Another user's lease file may be inaccessible.
        with suppress(OSError):
            if len(taken) < count and Lease(gpu, folder).take():
                taken.append(gpu)
    environ[VISIBLE] = ",".join([*taken, *(gpu for gpu in gpus if gpu not in taken)][:count])


def visible_gpus(environ: Mapping[str, str]) -> list[str]:
    """The GPUs in CUDA_VISIBLE_DEVICES, or if it is not set, the UUIDs of all GPUs, most free memory first.

    Each instance of a partitioned GPU (MIG) is listed separately. Empty without NVML.
    """
    gpus = _by_free_memory()
    if gpus and VISIBLE in environ:
        return [name for name in map(str.strip, environ[VISIBLE].split(",")) if name not in HIDDEN]
    return gpus


def _by_free_memory() -> list[str]:
    free_bytes: dict[str, int] = {}
    # Without a driver, the library is missing; a batch system may deny access to some GPUs.
    with suppress(pynvml.NVMLError):
        pynvml.nvmlInit()
        for index in range(pynvml.nvmlDeviceGetCount()):
            with suppress(pynvml.NVMLError):
                gpu = pynvml.nvmlDeviceGetHandleByIndex(index)
                for device in _instances(gpu) or [gpu]:
                    free_bytes[pynvml.nvmlDeviceGetUUID(device)] = pynvml.nvmlDeviceGetMemoryInfo(device).free
    return sorted(free_bytes, key=lambda uuid: free_bytes[uuid], reverse=True)


def _instances(gpu: Any) -> list[Any]:
    """The instances of a partitioned GPU; empty if it is not partitioned."""
    instances = []
    with suppress(pynvml.NVMLError):
        for index in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(gpu)):
            with suppress(pynvml.NVMLError):
                instances.append(pynvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu, index))
    return instances
