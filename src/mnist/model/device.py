"""The torch device, and the facts about it that a receipt records."""

import warnings
from pathlib import Path
from typing import Any

import torch

from src.core.errors import UserError

DRIVER_VERSION = Path("/sys/module/nvidia/version")
# CUDA, its libraries and MNIST take about this much, with the batches of any recipe here. Estimated, not measured.
GPU_BYTES = 1_500_000_000


def torch_device(accelerator: str) -> torch.device:
    """The device that Lightning takes for an accelerator.

    Args:
        accelerator: Lightning's name of a device; `auto` takes a GPU where there is one.

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


def device_facts(device: torch.device, *, tf32: bool = False) -> dict[str, Any]:
    """What the exact bytes of a result depend on, for its receipt: the device and what computes on it.

    Args:
        device: Where it was computed.
        tf32: Whether products of float32 matrices were computed in TF32.
    """
    if device.type != "cuda":
        return {"device": device.type}
    return {
        "device": torch.cuda.get_device_name(device),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "driver": DRIVER_VERSION.read_text(encoding="utf-8").strip() if DRIVER_VERSION.exists() else "",
        "fp32": "tf32" if tf32 else "ieee",
    }
