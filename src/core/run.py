"""What a stage receives, and what it reports about its run."""

import platform
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any


@dataclass(frozen=True)
class Run:
    """Inputs of a stage's main function, from the guard.

    Attributes:
        params: The params that dvc.yaml declares for the stage, as DVC reads them.
        identity: Everything known in advance that determines the result, by name: params, hash of every input file,
            processor.
        accelerator: Lightning's name of the requested device; `auto` uses a GPU if there is one.
        processes: Number of processes that are requested to train together.
        check_unchanged: Raises UserError if an input was touched or an undeclared file was opened, so that a doomed run
            ends early; takes milliseconds.
        changed: Names of params and paths of dependencies that differ from those of the result in dvc.lock.
        is_locked: Whether dvc.lock already has a result for the same inputs, so that this run was forced.
    """

    params: Mapping[str, Any]
    identity: Mapping[str, str] = field(default_factory=dict)
    accelerator: str = "auto"
    processes: int = 1
    check_unchanged: Callable[[], None] = lambda: None
    changed: Collection[str] = ()
    is_locked: bool = False


@dataclass(frozen=True)
class ReceiptFields:
    """Fields that a stage adds to its receipt; none may differ between two runs on one machine.

    Attributes:
        versions: Versions of Python and the packages that computed the outputs.
        machine: Device, threads and the like; empty if the outputs do not depend on the machine.
    """

    versions: Mapping[str, str] = field(default_factory=dict)
    machine: Mapping[str, Any] = field(default_factory=dict)


def versions(*packages: str) -> dict[str, str]:
    """Installed versions of Python and of packages, by name."""
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}
