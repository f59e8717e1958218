"""The torch device, settings that make it deterministic, and the facts about it for a receipt."""

import ctypes
import os
import warnings
from pathlib import Path
from typing import Any

import torch

from src.core.errors import UserError

DRIVER_VERSION = Path("/sys/module/nvidia/version")
# Memory for CUDA, its libraries, MNIST and the batches of any recipe here. Estimated, not measured.
GPU_BYTES = 1_500_000_000
# Parameters of `mallopt`, from glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
# Larger than any tensor in training.
KEPT_BYTES = 1 << 30


def torch_device(accelerator: str) -> torch.device:
    """The device for one of Lightning's names: cpu, gpu, cuda, or auto, which prefers a GPU.

    Raises:
        UserError: If no such device is available.
    """
    if accelerator != "cpu" and torch.cuda.is_available():
        return torch.device("cuda")
    if accelerator in ("auto", "cpu"):
        return torch.device("cpu")
    raise UserError(f"PL_TRAINER_ACCELERATOR is {accelerator!r}, but torch finds no such device")


def try_cuda() -> None:
    """Run a small computation on the first CUDA device, and allocate as much memory as training needs.

    Raises:
        UserError: If there is no device, its driver is too old or does not start, this torch has no kernels for it, or
            it is full or in use. The message includes torch's.
    """
    try:
        # torch's warnings repeat the error in several lines.
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
    """Use the same number of CPU threads, deterministic kernels and the same arithmetic on every machine.

    Args:
        threads: CPU threads. Their number determines the order of sums, and thereby the last bits of the weights.
        tf32: Whether GPUs may round the factors of float32 products to TF32's 10 bits of mantissa. PyTorch's default
            does so in convolutions but not in linear layers; here, neither does unless requested.
    """
    torch.set_num_threads(threads)
    # Same as `use_deterministic_algorithms(True)`, which also imports PyTorch's compiler: 1.5 s.
    torch.set_deterministic_debug_mode("error")
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    torch.backends.cudnn.benchmark = False
    # Deterministic mode also fills all new memory, at one kernel launch per allocation. Nothing here reads
    # uninitialised memory.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    # The newer `fp32_precision` cannot be used: once it is set, reading these flags raises, and Lightning reads them.
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.allow_tf32 = tf32


def keep_freed_memory() -> None:
    """Make the C library reuse freed memory instead of giving it back to the system.

    By default, it returns the activations of each training step to the system, and the next step faults them in again,
    page by page: 500 to 2,000 page faults per step, a fifth to a third of its time.
    """
    libc = ctypes.CDLL(None)
    libc.mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
    libc.mallopt(M_MMAP_THRESHOLD, KEPT_BYTES)


def device_facts(device: torch.device, *, tf32: bool = False) -> dict[str, Any]:
    """The device, libraries and arithmetic that determine the exact bytes of a result, for its receipt."""
    if device.type != "cuda":
        return {"device": device.type}
    return {
        "device": torch.cuda.get_device_name(device),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "driver": DRIVER_VERSION.read_text(encoding="utf-8").strip() if DRIVER_VERSION.exists() else "",
        "fp32": "tf32" if tf32 else "ieee",
    }
