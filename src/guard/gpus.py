"""The GPUs of this machine, as NVIDIA's management library (NVML) describes them.

Unlike the CUDA driver, it can be asked before CUDA_VISIBLE_DEVICES is decided. Its Python bindings come with some
versions of torch only and take 0.1 s to import.
"""

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from src.core.errors import UserError
from src.mnist.model.accelerator import CHOICE

LIBNVML = "libnvidia-ml.so.1"
VISIBLE = "CUDA_VISIBLE_DEVICES"
# From nvml.h.
SUCCESS, PROHIBITED, EXCLUSIVE_PROCESS = 0, 2, 3
UUID_BYTES = 96
# CUDA, its libraries and MNIST take about this much, with the batches of any recipe here. Estimated, not measured.
NEEDED_BYTES = 1_500_000_000
# What the pinned torch has machine code for. Code for X.Y runs on X.Z with Z of at least Y, and on no other X.
KERNELS = ((7, 5), (8, 0), (8, 6), (9, 0), (10, 0), (12, 0))
CPU_INSTEAD = f"or train on the CPU: {CHOICE}=cpu dvc repro"


@dataclass(frozen=True)
class Gpu:
    """A GPU, or an instance of one that is partitioned (MIG).

    Attributes:
        uuid: As CUDA_VISIBLE_DEVICES takes it.
        capability: Compute capability, such as (9, 0).
        free_bytes: Free memory; None if NVML does not report it.
        blocked: Whether its compute mode keeps another process out.
    """

    uuid: str
    capability: tuple[int, int]
    free_bytes: int | None
    blocked: bool

    @property
    def problem(self) -> str:
        """Why it cannot be used now; empty if it can."""
        if not has_kernels(self.capability):
            return unsupported(self.capability)
        if self.blocked:
            return "is in exclusive mode and in use, or closed to computing"
        if self.free_bytes is not None and self.free_bytes < NEEDED_BYTES:
            return f"has {self.free_bytes >> 20} MiB of free memory, {NEEDED_BYTES >> 20} MiB are needed"
        return ""


def has_kernels(capability: tuple[int, int]) -> bool:
    """Whether torch has machine code for GPUs of a compute capability."""
    major, minor = capability
    return any(major == built_major and minor >= built_minor for built_major, built_minor in KERNELS)


def unsupported(capability: tuple[int, int]) -> str:
    """The sentence about such a GPU, without its subject."""
    oldest, newest = KERNELS[0], KERNELS[-1]
    return (
        f"has compute capability {'.'.join(map(str, capability))}, the installed torch supports "
        f"{'.'.join(map(str, oldest))} to {newest[0]}.x except 11.x"
    )


def usable_gpus(environ: Mapping[str, str], count: int = 1) -> list[Gpu]:
    """The visible GPUs that can be used now, those with the most free memory first.

    Args:
        environ: Its CUDA_VISIBLE_DEVICES lists the visible ones; numbers count as in `nvidia-smi`.
        count: How many are needed.

    Returns:
        Empty if none is visible or NVML is not there.

    Raises:
        UserError: If some are visible, but fewer than needed can be used.
    """
    visible = visible_gpus(_partitions(), environ.get(VISIBLE))
    usable = [gpu for gpu in visible if not gpu.problem]
    if visible and len(usable) < count:
        problems = "; ".join(f"{gpu.uuid} {gpu.problem}" for gpu in visible if gpu.problem)
        raise UserError(
            f"{count} GPU{'s are' if count > 1 else ' is'} needed, {len(usable)} of {len(visible)} visible can be used"
            f"{': ' if problems else ''}{problems}; free one, choose others with {VISIBLE}, {CPU_INSTEAD}"
        )
    return sorted(usable, key=lambda gpu: gpu.free_bytes or 0, reverse=True)


def visible_gpus(partitions: Sequence[Sequence[Gpu]], names: str | None) -> list[Gpu]:
    """What CUDA_VISIBLE_DEVICES makes visible: as in CUDA, names count up to the first that is wrong.

    Args:
        partitions: For each GPU in the order of `nvidia-smi`, its instances, or itself if it is not partitioned.
        names: Numbers or beginnings of UUIDs, separated by commas; None: everything is visible.
    """
    if names is None:
        return [gpu for gpus in partitions for gpu in gpus]
    visible: list[Gpu] = []
    for name in map(str.strip, names.split(",")):
        if name.isdecimal():
            found = list(partitions[int(name)]) if int(name) < len(partitions) else []
        else:
            found = [gpu for gpus in partitions for gpu in gpus if name and gpu.uuid.startswith(name)]
            found = found if len(found) == 1 else []
        if not found:
            break
        visible += [gpu for gpu in found if gpu not in visible]
    return visible


def _partitions() -> list[list[Gpu]]:
    """All GPUs that this process may use, each as its instances; empty without NVML."""
    try:
        nvml = ctypes.CDLL(LIBNVML)
    except OSError:
        return []
    count = ctypes.c_uint()
    if nvml.nvmlInit_v2() != SUCCESS or nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)) != SUCCESS:
        return []
    found = []
    for index in range(count.value):
        device = ctypes.c_void_p()
        # A batch system may have closed some, which CUDA does not count.
        if nvml.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(device)) == SUCCESS:
            found.append(_instances(nvml, device))
    return found


def _instances(nvml: ctypes.CDLL, device: ctypes.c_void_p) -> list[Gpu]:
    major, minor = ctypes.c_int(), ctypes.c_int()
    nvml.nvmlDeviceGetCudaComputeCapability(device, ctypes.byref(major), ctypes.byref(minor))
    capability = (major.value, minor.value)
    partitioned, pending, most = ctypes.c_uint(), ctypes.c_uint(), ctypes.c_uint()
    nvml.nvmlDeviceGetMigMode(device, ctypes.byref(partitioned), ctypes.byref(pending))
    if not partitioned.value:
        return [_describe(nvml, device, capability)]
    nvml.nvmlDeviceGetMaxMigDeviceCount(device, ctypes.byref(most))
    instances = []
    for index in range(most.value):
        instance = ctypes.c_void_p()
        if nvml.nvmlDeviceGetMigDeviceHandleByIndex(device, index, ctypes.byref(instance)) == SUCCESS:
            instances.append(_describe(nvml, instance, capability))
    return instances


def _describe(nvml: ctypes.CDLL, device: ctypes.c_void_p, capability: tuple[int, int]) -> Gpu:
    uuid = ctypes.create_string_buffer(UUID_BYTES)
    nvml.nvmlDeviceGetUUID(device, uuid, UUID_BYTES)
    # nvmlMemory_t: total, free and used.
    memory = (ctypes.c_ulonglong * 3)()
    known = nvml.nvmlDeviceGetMemoryInfo(device, memory) == SUCCESS
    mode, processes = ctypes.c_uint(), ctypes.c_uint()
    nvml.nvmlDeviceGetComputeMode(device, ctypes.byref(mode))
    # With room for none, it fails if there are some, and writes their number.
    nvml.nvmlDeviceGetComputeRunningProcesses_v3(device, ctypes.byref(processes), None)
    blocked = mode.value == PROHIBITED or (mode.value == EXCLUSIVE_PROCESS and processes.value > 0)
    return Gpu(uuid.value.decode(), capability, memory[1] if known else None, blocked)
