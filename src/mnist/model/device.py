"""The torch device, settings that make it compute the same every time, and the facts about it for a receipt."""

import ctypes
import os
import warnings
from pathlib import Path
from typing import Any

import torch

from src.core.errors import UserError

DRIVER_VERSION = Path("/sys/module/nvidia/version")
# CUDA, its libraries and MNIST take about this much, with the batches of any recipe here. Estimated, not measured.
GPU_BYTES = 1_500_000_000
# Numbers of `mallopt` in glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
# More than any tensor of a training takes.
KEPT_BYTES = 1 << 30


def torch_device(accelerator: str) -> torch.device:
    """The device that Lightning takes for an accelerator; `auto` takes a GPU where there is one.

    Raises:
        UserError: If there is no such device.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    names = {"auto": ("cuda", "mps", "cpu"), "gpu": ("cuda", "mps")}.get(accelerator, (accelerator,))
    for name in names:
        if available.get(name):
            return torch.device(name)
    raise UserError(f"PL_TRAINER_ACCELERATOR is {accelerator!r}, but torch finds no such device")


def try_cuda() -> None:
    """Compute once on the first CUDA device, with as much memory as training takes.

    Raises:
        UserError: If there is none, its driver is too old or does not start, this torch has no kernels for it, or it is
            full or taken. The message is torch's.
    """
    try:
        # Its warnings take several lines to say what the error says.
        with warnings.catch_warnings(action="ignore"):
            torch.zeros(GPU_BYTES, dtype=torch.uint8, device="cuda")
            torch.ones(8, 8, device="cuda").mm(torch.ones(8, 8, device="cuda")).sum().item()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"the GPU cannot be used: {reason}; see `nvidia-smi`, choose another with CUDA_VISIBLE_DEVICES, "
            "or train on the CPU: PL_TRAINER_ACCELERATOR=cpu dvc repro"
        ) from error


def configure_determinism(threads: int, *, tf32: bool = False) -> None:
    """Compute with the same number of CPU threads, deterministic kernels and the same arithmetic on every machine.

    Args:
        threads: CPU threads. The order of a sum depends on their number, and so would the weights on the machine.
        tf32: Whether GPUs may round the factors of float32 products to TF32's 10 bits of mantissa. By default, PyTorch
            does so in convolutions but not in linear layers; here, float32 is float32 unless it is asked for.
    """
    torch.set_num_threads(threads)
    # As `use_deterministic_algorithms(True)`, which also tells PyTorch's compiler: importing that takes 1.5 s.
    torch.set_deterministic_debug_mode("error")
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    torch.backends.cudnn.benchmark = False
    # This mode makes PyTorch fill all new memory, one kernel launch each time. Nothing here reads memory that it did
    # not write.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    # Their successors, `fp32_precision`, cannot be used: once they are set, reading one of these raises, and Lightning
    # reads them.
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.allow_tf32 = tf32


def keep_freed_memory() -> None:
    """Make the C library reuse freed memory instead of giving it back to the system.

    By default, it returns the activations of each training step to the system, and the next step faults them in again,
    page by page: 500 to 2,000 page faults per step, a fifth to a third of its time. Without glibc, nothing changes.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(M_MMAP_THRESHOLD, KEPT_BYTES)


def device_facts(device: torch.device, *, tf32: bool = False) -> dict[str, Any]:
    """What the exact bytes of a result depend on, for its receipt: the device and what computes on it."""
    if device.type != "cuda":
        return {"device": device.type}
    return {
        "device": torch.cuda.get_device_name(device),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "driver": DRIVER_VERSION.read_text(encoding="utf-8").strip() if DRIVER_VERSION.exists() else "",
        "fp32": "tf32" if tf32 else "ieee",
    }
