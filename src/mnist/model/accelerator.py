"""Which device the environment asks for; does not import torch."""

from collections.abc import Mapping
from pathlib import Path

from src.core.errors import UserError

# Lightning reads any Trainer argument from such a variable, including the number of batches and epochs.
PREFIX = "PL_TRAINER_"
CHOICE = f"{PREFIX}ACCELERATOR"
# The number of processes does not change the result, either: the params fix the shards that they compute.
ALLOWED = (CHOICE, f"{PREFIX}DEVICES", f"{PREFIX}NUM_NODES")
DRIVER_VERSION = Path("/sys/module/nvidia/version")


def chosen_accelerator(environ: Mapping[str, str]) -> str:
    """The device that the environment asks for; `auto` if it asks for none.

    Raises:
        UserError: If the environment sets another trainer argument: training would differ from params.yaml, and
            dvc.lock would not show it.
    """
    others = sorted(name for name in environ if name.startswith(PREFIX) and name not in ALLOWED)
    if others:
        raise UserError(
            f"{', '.join(others)}: expected no {PREFIX} variable but {', '.join(ALLOWED)}; unset it, use params.yaml"
        )
    return environ.get(CHOICE, "auto")


def driver_version() -> str:
    """Version of the GPU's driver, such as 580.82.07; empty if the system does not report it."""
    return DRIVER_VERSION.read_text(encoding="utf-8").strip() if DRIVER_VERSION.exists() else ""
