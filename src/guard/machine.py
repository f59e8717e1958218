"""What decides which kernels compute on this machine, and so the last bits of the weights."""

import os
import platform
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
MODEL_FIELDS = ("vendor_id", "cpu family", "model")
# oneDNN, MKL and PyTorch choose kernels by instructions whose names begin like this.
INSTRUCTIONS = ("amx", "avx", "bmi", "f16c", "fma", "sse", "ssse")
# Settings of the same libraries choose as well.
VARIABLES = ("ATEN_", "CUBLAS", "CUDNN", "DNNL_", "LD_PRELOAD", "MKL_", "NVIDIA_TF32", "ONEDNN_", "TORCH_")


def machine() -> dict[str, str | dict[str, str]]:
    """Everything of this machine that is known without torch."""
    return {**processor(), "kernels": kernel_settings()}


def processor() -> dict[str, str]:
    """Model and instructions of the processor, as far as the system tells."""
    lines = CPUINFO.read_text(encoding="utf-8").split("\n\n")[0].splitlines() if CPUINFO.exists() else []
    fields = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    model = [fields[name] for name in MODEL_FIELDS if name in fields] or [platform.processor()]
    instructions = sorted(flag for flag in fields.get("flags", "").split() if flag.startswith(INSTRUCTIONS))
    return {"cpu": " ".join([platform.machine(), *model]), "instructions": " ".join(instructions)}


def kernel_settings() -> dict[str, str]:
    """Environment variables by which kernels are chosen."""
    return {name: value for name, value in sorted(os.environ.items()) if name.startswith(VARIABLES)}
