"""Facts about this machine that determine which kernels run, and thereby the exact bits of the weights."""

import os
import platform
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
MODEL_FIELDS = ("vendor_id", "cpu family", "model")
# oneDNN, MKL and PyTorch choose kernels by CPU instructions with these prefixes.
INSTRUCTIONS = ("amx", "avx", "bmi", "f16c", "fma", "sse", "ssse")
# Environment variables with these prefixes also choose kernels, or the libraries that contain them.
VARIABLES = ("ATEN_", "CUBLAS", "CUDNN", "DNNL_", "GLIBC_TUNABLES", "LD_", "MKL_", "NPY_", "NVIDIA_TF32", "ONEDNN_",
             "OPENBLAS_", "PYTORCH_", "TORCH_")  # fmt: skip
# torchrun sets some of these; they only affect communication between processes.
COMMUNICATION = "TORCH_NCCL_"


def machine() -> dict[str, str | dict[str, str]]:
    """All facts about this machine that are available without torch."""
    return {**processor(), "kernels": kernel_settings()}


def processor() -> dict[str, str]:
    """Model and instructions of the processor, as far as the system reports them."""
    lines = CPUINFO.read_text(encoding="utf-8").split("\n\n")[0].splitlines() if CPUINFO.exists() else []
    fields = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    model = [fields[name] for name in MODEL_FIELDS if name in fields] or [platform.processor()]
    instructions = sorted(flag for flag in fields.get("flags", "").split() if flag.startswith(INSTRUCTIONS))
    return {"cpu": " ".join([platform.machine(), *model]), "instructions": " ".join(instructions)}


def kernel_settings() -> dict[str, str]:
    """Environment variables that choose kernels."""
    names = sorted(name for name in os.environ if name.startswith(VARIABLES) and not name.startswith(COMMUNICATION))
    return {name: os.environ[name] for name in names}
