"""The machine that a benchmark ran on."""

import os
import platform
from importlib.metadata import version
from pathlib import Path

import torch

from src.mnist.model.device import device_facts

# As in the recipes.
THREADS = 2


def machine() -> str:
    """Hardware and versions in one line."""
    cores = os.cpu_count()
    if torch.cuda.is_available():
        gpu = device_facts(torch.device("cuda"))
        device = f"{gpu['device']}, driver {gpu['driver']}, CUDA {gpu['cuda']}, cuDNN {gpu['cudnn']}, {cores} CPU cores"
    else:
        lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
        names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
        device = f"{names[0] if names else platform.processor()}, {cores} cores, {THREADS} threads used"
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "pytorch-lightning", "torchvision", "dvc"))
    return f"{device}; Python {platform.python_version()}, {packages}"
