"""The device that Lightning is told to use, found and checked without torch."""

import ctypes
import platform
import sys
from collections.abc import Mapping

from src.core.errors import UserError

LIBCUDA = "libcuda.so.1"
# Lightning takes any argument of its trainer from such a variable, the number of batches and epochs included.
PREFIX = "PL_TRAINER_"
CHOICE = f"{PREFIX}ACCELERATOR"


def chosen_accelerator(environ: Mapping[str, str]) -> str:
    """The device that the environment asks for, `auto` where it asks for none.

    Raises:
        UserError: If the environment says more to the trainer than that: it would train something else than params.yaml
            says, and dvc.lock would not tell.
    """
    others = sorted(name for name in environ if name.startswith(PREFIX) and name != CHOICE)
    if others:
        raise UserError(f"{', '.join(others)}: expected no such variable but {CHOICE}; unset, and use params.yaml")
    return environ.get(CHOICE, "auto")


def check_accelerator(name: str) -> None:
    """Check that a device that Lightning will be told to use is there.

    Args:
        name: Lightning's name of it; `auto` takes what there is.

    Raises:
        UserError: If it is unknown or missing.
    """
    there = {
        "auto": lambda: True,
        "cpu": lambda: True,
        "cuda": lambda: cuda_devices() > 0,
        "mps": _has_mps,
        "gpu": lambda: cuda_devices() > 0 or _has_mps(),
    }
    if name not in there:
        raise UserError(f"{CHOICE}: expected one of {', '.join(there)}, got {name!r}")
    if not there[name]():
        raise UserError(
            f"{CHOICE} is {name!r}, but no such device is here; check the driver (`nvidia-smi`) and "
            "CUDA_VISIBLE_DEVICES, or unset it to use what there is"
        )


def cuda_devices() -> int:
    """Number of CUDA devices that this process may use, asked of the driver because importing torch takes seconds."""
    try:
        driver = ctypes.CDLL(LIBCUDA)
    except OSError:
        return 0
    count = ctypes.c_int(0)
    # Both return 0 for success; cuInit fails where no device is visible.
    return count.value if driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 else 0


def _has_mps() -> bool:
    return sys.platform == "darwin" and platform.machine() == "arm64"
