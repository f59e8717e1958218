"""The device that Lightning is told to use, found and checked without torch."""

import ctypes
import platform
import re
import sys
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path

from src.core.errors import UserError

LIBCUDA = "libcuda.so.1"
# From cuda.h: results of a call, and attributes of a device.
SUCCESS, STUB_LIBRARY, NO_DEVICE = 0, 34, 100
CAPABILITY_MAJOR, CAPABILITY_MINOR = 75, 76
# The oldest driver for each major version of CUDA, and the oldest GPU that PyTorch's packages have kernels for.
OLDEST_DRIVER = {12: "525", 13: "580"}
OLDEST_CAPABILITY = (7, 5)
DRIVER_VERSION = Path("/sys/module/nvidia/version")
# Lightning reads any Trainer argument from such a variable, including the number of batches and epochs.
PREFIX = "PL_TRAINER_"
CHOICE = f"{PREFIX}ACCELERATOR"


def chosen_accelerator(environ: Mapping[str, str]) -> str:
    """The device that the environment asks for; `auto` if it asks for none.

    Raises:
        UserError: If the environment sets another trainer argument: training would differ from params.yaml, and
            dvc.lock would not show it.
    """
    others = sorted(name for name in environ if name.startswith(PREFIX) and name != CHOICE)
    if others:
        raise UserError(f"{', '.join(others)}: expected no {PREFIX} variable but {CHOICE}; unset it, use params.yaml")
    return environ.get(CHOICE, "auto")


def check_accelerator(name: str) -> None:
    """Check that the device exists and that the installed torch can use it.

    Args:
        name: Lightning's name for the device; `auto` takes what is available.

    Raises:
        UserError: If it is unknown, missing or not usable.
    """
    names = ("auto", "cpu", "cuda", "mps", "gpu")
    if name not in names:
        raise UserError(f"{CHOICE}: expected one of {', '.join(names)}, got {name!r}")
    available = {"auto", "cpu"}
    if name in ("auto", "cuda", "gpu") and _has_cuda():
        available |= {"cuda", "gpu"}
    if _has_mps():
        available |= {"mps", "gpu"}
    if name not in available:
        raise UserError(
            f"{CHOICE} is {name!r}, but there is no such device; check the driver (`nvidia-smi`) and "
            f"CUDA_VISIBLE_DEVICES, or unset {CHOICE} to use what is available"
        )


def _has_cuda() -> bool:
    """Whether a CUDA device is visible; asks the driver, because importing torch takes seconds.

    Raises:
        UserError: If there is one that the installed torch cannot use.
    """
    built_for = cuda_of_torch()
    try:
        driver = ctypes.CDLL(LIBCUDA)
    except OSError:
        return False
    started = driver.cuInit(0)
    if built_for is None or started in (STUB_LIBRARY, NO_DEVICE):
        return False
    repair = f"or train on the CPU: {CHOICE}=cpu dvc repro"
    if started != SUCCESS:
        raise UserError(f"the GPU's driver does not start (CUDA error {started}); see what `nvidia-smi` says, {repair}")
    supported = _ask(driver.cuDriverGetVersion)
    if supported // 1000 < built_for:
        raise UserError(
            f"the GPU's driver{_driver_version()} supports CUDA {supported // 1000}.{supported % 1000 // 10}, the "
            f"installed torch needs {built_for}.0; install driver "
            f"{OLDEST_DRIVER.get(built_for, 'of that version')} or newer, {repair}"
        )
    if _ask(driver.cuDeviceGetCount) == 0:
        return False
    device = _ask(driver.cuDeviceGet, 0)
    capability = tuple(_ask(driver.cuDeviceGetAttribute, attribute, device) for attribute in
                       (CAPABILITY_MAJOR, CAPABILITY_MINOR))  # fmt: skip
    if capability < OLDEST_CAPABILITY:
        found, needed = (".".join(map(str, version)) for version in (capability, OLDEST_CAPABILITY))
        raise UserError(
            f"the GPU has compute capability {found}, the installed torch needs {needed}; choose another GPU with "
            f"CUDA_VISIBLE_DEVICES, {repair}"
        )
    return True


def cuda_of_torch() -> int | None:
    """Major CUDA version of the installed torch, which any driver of that version supports; None: no CUDA."""
    torch = find_spec("torch")
    assert torch is not None
    assert torch.origin is not None
    text = Path(torch.origin).with_name("version.py").read_text(encoding="utf-8")
    version = re.search(r"^cuda\b.*= *'(\d+)\.", text, re.MULTILINE)
    return int(version[1]) if version else None


def _ask(function: Callable[..., int], *arguments: int) -> int:
    """Call a function of the driver; returns the number that it writes to its first argument, 0 if it fails."""
    answer = ctypes.c_int(0)
    function(ctypes.byref(answer), *arguments)
    return answer.value


def _driver_version() -> str:
    return f" {DRIVER_VERSION.read_text(encoding='utf-8').strip()}" if DRIVER_VERSION.exists() else ""


def _has_mps() -> bool:
    return sys.platform == "darwin" and platform.machine() == "arm64"
