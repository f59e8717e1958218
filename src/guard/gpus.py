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


def take_gpus(environ: MutableMapping[str, str], count: int = 1, folder: Path = LEASES) -> None:
    """Take the emptiest GPUs that no other stage has taken until this process ends, and make only them visible.

    It must come before torch is imported.

    If too few are left, the emptiest of the others are shared. Without NVML, everything stays as it is.

    Args:
        environ: Its CUDA_VISIBLE_DEVICES lists the visible GPUs; it is changed.
        count: How many the stage needs.
        folder: Where the files are that stand for the GPUs.

    Raises:
        UserError: If some are visible, but fewer than `count`.
    """
    free_bytes = visible_gpus(environ)
    if not free_bytes:
        return
    if len(free_bytes) < count:
        raise UserError(
            f"{count} GPUs are needed, {len(free_bytes)} are visible; choose others with {VISIBLE}, or train on the "
            "CPU: PL_TRAINER_ACCELERATOR=cpu dvc repro"
        )
    emptiest = sorted(free_bytes, key=lambda uuid: free_bytes[uuid], reverse=True)
    taken: list[str] = []
    for uuid in emptiest:
        # Another user's file may be closed to this one.
        with suppress(OSError):
            if len(taken) < count and Lease(uuid, folder).take():
                taken.append(uuid)
    shared = [uuid for uuid in emptiest if uuid not in taken]
    environ[VISIBLE] = ",".join([*taken, *shared][:count])


def visible_gpus(environ: Mapping[str, str]) -> dict[str, int]:
    """Free bytes of each visible GPU by UUID; of a partitioned one (MIG), those of each instance.

    As in CUDA, names in CUDA_VISIBLE_DEVICES count up to the first that is wrong; numbers count as in `nvidia-smi`.

    Args:
        environ: Its CUDA_VISIBLE_DEVICES lists numbers or beginnings of UUIDs; without it, all are visible.

    Returns:
        Empty without NVML.
    """
    gpus = _all_gpus()
    found: dict[str, int] = {}
    if VISIBLE not in environ:
        return {uuid: free for gpu in gpus for uuid, free in gpu.items()}
    for name in map(str.strip, environ[VISIBLE].split(",")):
        if name.isdecimal():
            named = gpus[int(name)] if int(name) < len(gpus) else {}
        else:
            named = {uuid: free for gpu in gpus for uuid, free in gpu.items() if name and uuid.startswith(name)}
        if not named:
            break
        found |= named
    return found


def _all_gpus() -> list[dict[str, int]]:
    """Free bytes by UUID, of each GPU that this process may use."""
    gpus = []
    # Without a driver there is no library; a batch system may have closed some GPUs, which CUDA does not count.
    with suppress(pynvml.NVMLError):
        pynvml.nvmlInit()
        for index in range(pynvml.nvmlDeviceGetCount()):
            with suppress(pynvml.NVMLError):
                gpu = pynvml.nvmlDeviceGetHandleByIndex(index)
                devices = _instances(gpu) or [gpu]
                gpus.append({pynvml.nvmlDeviceGetUUID(device): _free_bytes(device) for device in devices})
    return gpus


def _instances(gpu: Any) -> list[Any]:
    """The instances of a partitioned GPU; empty for a whole one."""
    instances = []
    with suppress(pynvml.NVMLError):
        for index in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(gpu)):
            with suppress(pynvml.NVMLError):
                instances.append(pynvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu, index))
    return instances


def _free_bytes(device: Any) -> int:
    # A GPU that shares the memory of its processor reports none.
    with suppress(pynvml.NVMLError):
        return int(pynvml.nvmlDeviceGetMemoryInfo(device).free)
    return 0
