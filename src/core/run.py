"""What a stage is run with, and what it says about the run."""

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any


@dataclass(frozen=True)
class Run:
    """What the guard hands to a stage.

    Attributes:
        params: The hyperparameters that dvc.yaml declares for the stage, checked against the schema.
        origin: Everything that decides the result and is known beforehand, by name: params, hash of every input file,
            processor. A checkpoint is stamped with it.
    """

    params: Mapping[str, Any]
    origin: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Facts:
    """What a stage adds to its receipt. Nothing here may differ between two runs on one machine.

    Attributes:
        versions: Of Python and the packages that computed the outputs.
        machine: Device, threads and the like; empty if no machine has an influence on the outputs.
    """

    versions: Mapping[str, str] = field(default_factory=dict)
    machine: Mapping[str, Any] = field(default_factory=dict)


def versions(*packages: str) -> dict[str, str]:
    """Installed versions of Python and of packages, by name."""
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}
