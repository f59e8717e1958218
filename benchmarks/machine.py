"""The machine that a benchmark ran on."""

import os
import platform
from importlib.metadata import version
from pathlib import Path

import torch

from src.model.determinism import CPU_THREADS


def machine() -> str:
    """Hardware and versions in one line."""
    if torch.cuda.is_available():
        device = torch.cuda.get_device_name()
    else:
        lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
        names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
        device = f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores, {CPU_THREADS} threads used"
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "pytorch-lightning", "torchvision", "dvc"))
    return f"{device}; Python {platform.python_version()}, {packages}"
