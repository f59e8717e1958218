"""The torch device, and the facts about it that a receipt records."""

from typing import Any

import torch

from src.core.errors import UserError
from src.mnist.model.accelerator import CHOICE, driver_version


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
    raise UserError(f"{CHOICE} is {accelerator!r}, but torch finds no such device")


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
        "driver": driver_version(),
        "fp32": "tf32" if tf32 else "ieee",
    }
