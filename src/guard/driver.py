"""Checks without torch that the device asked for exists and that the installed torch can use it."""

import ctypes
import platform
import re
import sys
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path

from src.core.errors import UserError
from src.guard.gpus import CPU_INSTEAD, VISIBLE, has_kernels, unsupported, usable_gpus
from src.mnist.model.accelerator import CHOICE, driver_version

LIBCUDA = "libcuda.so.1"
# From cuda.h: results of a call, and attributes of a device.
SUCCESS, STUB_LIBRARY, NO_DEVICE = 0, 34, 100
CAPABILITY_MAJOR, CAPABILITY_MINOR = 75, 76
# The oldest driver for each major version of CUDA.
OLDEST_DRIVER = {12: "525", 13: "580"}


def check_accelerator(name: str, environ: Mapping[str, str]) -> None:
    """Check that the device exists, that the installed torch can use it, and that it is free.

    Args:
        name: Lightning's name for the device; `auto` takes what is available.
        environ: Its CUDA_VISIBLE_DEVICES lists the visible GPUs.

    Raises:
        UserError: If it is unknown, missing or not usable.
    """
    names = ("auto", "cpu", "cuda", "mps", "gpu")
    if name not in names:
        raise UserError(f"{CHOICE}: expected one of {', '.join(names)}, got {name!r}")
    available = {"auto", "cpu"}
    if name in ("auto", "cuda", "gpu") and _has_cuda(environ):
        available |= {"cuda", "gpu"}
    if _has_mps():
        available |= {"mps", "gpu"}
    if name not in available:
        raise UserError(
            f"{CHOICE} is {name!r}, but there is no such device; check the driver (`nvidia-smi`) and "
            f"{VISIBLE}, or unset {CHOICE} to use what is available"
        )


def _has_cuda(environ: Mapping[str, str]) -> bool:
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
    if started != SUCCESS:
        raise UserError(
            f"the GPU's driver does not start (CUDA error {started}); see the output of `nvidia-smi`, {CPU_INSTEAD}"
        )
    supported = _ask(driver.cuDriverGetVersion)
    if supported // 1000 < built_for:
        installed = f" {version}" if (version := driver_version()) else ""
        raise UserError(
            f"the GPU's driver{installed} supports CUDA {supported // 1000}.{supported % 1000 // 10}, the "
            f"installed torch needs {built_for}.0; install driver "
            f"{OLDEST_DRIVER.get(built_for, 'of that version')} or newer, {CPU_INSTEAD}"
        )
    if _ask(driver.cuDeviceGetCount) == 0:
        return False
    if not usable_gpus(environ):
        _check_first(driver)
    return True


def _check_first(driver: ctypes.CDLL) -> None:
    """Check the GPU that torch takes where nothing is known about the others.

    Raises:
        UserError: If torch has no kernels for it.
    """
    device = _ask(driver.cuDeviceGet, 0)
    major, minor = (_ask(driver.cuDeviceGetAttribute, which, device) for which in (CAPABILITY_MAJOR, CAPABILITY_MINOR))
    if not has_kernels((major, minor)):
        raise UserError(f"the GPU {unsupported((major, minor))}; choose another GPU with {VISIBLE}, {CPU_INSTEAD}")


def cuda_of_torch() -> int | None:
    """Major CUDA version of the installed torch, which any driver of that version supports; None: no CUDA."""
    torch = find_spec("torch")
    if torch is None or torch.origin is None:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")
    text = Path(torch.origin).with_name("version.py").read_text(encoding="utf-8")
    version = re.search(r"^cuda\b.*= *'(\d+)\.", text, re.MULTILINE)
    return int(version[1]) if version else None


def _ask(function: Callable[..., int], *arguments: int) -> int:
    """Call a function of the driver; returns the number that it writes to its first argument, 0 if it fails."""
    answer = ctypes.c_int(0)
    function(ctypes.byref(answer), *arguments)
    return answer.value


def _has_mps() -> bool:
    return sys.platform == "darwin" and platform.machine() == "arm64"
