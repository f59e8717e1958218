"""What decides which kernels compute on this machine, and so the last bits of the weights."""

import os
import platform
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
MODEL_FIELDS = ("vendor_id", "cpu family", "model")
# Names of the instructions that oneDNN, MKL and PyTorch choose by begin so.
INSTRUCTIONS = ("amx", "avx", "bmi", "f16c", "fma", "sse", "ssse")
# These settings of the same libraries choose as well.
VARIABLES = ("ATEN_", "DNNL_", "MKL_", "NVIDIA_TF32", "ONEDNN_", "TORCH_ALLOW_TF32")


def processor() -> dict[str, str]:
    """Model and instructions of the processor, as far as the system tells."""
    lines = CPUINFO.read_text().split("\n\n")[0].splitlines() if CPUINFO.exists() else []
    fields = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    model = [fields[name] for name in MODEL_FIELDS if name in fields] or [platform.processor()]
    instructions = sorted(flag for flag in fields.get("flags", "").split() if flag.startswith(INSTRUCTIONS))
    return {"cpu": " ".join([platform.machine(), *model]), "instructions": " ".join(instructions)}


def kernel_settings() -> dict[str, str]:
    """Environment variables by which kernels are chosen."""
    return {name: value for name, value in sorted(os.environ.items()) if name.startswith(VARIABLES)}
