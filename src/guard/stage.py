"""Reads the stages from DVC's files: dvc.yaml, dvc.lock and params.yaml."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from os.path import normpath
from pathlib import Path
from typing import Any

from src.core.errors import UserError
from src.core.receipt import PARAMS_FILE
from src.core.yaml_file import read_mapping

DVC_FILE = "dvc.yaml"
# Keys with which DVC computes a stage's declaration.
RESOLVED = ("foreach", "matrix", "do", "wdir", "vars")


@dataclass(frozen=True)
class Stage:
    """A stage as declared in dvc.yaml.

    Attributes:
        name: Name of the stage.
        deps: Normalised paths of its dependencies.
        params: Names of its params, with dots for nested ones; None: all of params.yaml.
        outs: Normalised paths of its outputs, metrics and plots.
    """

    name: str
    deps: tuple[str, ...]
    params: tuple[str, ...] | None
    outs: tuple[str, ...]


def read_stages() -> dict[str, Stage]:
    """Read the stages of dvc.yaml in the current directory, by name.

    Raises:
        UserError: If the file is malformed, or declares a stage in a way that only DVC can resolve.
    """
    stages = read_mapping(Path(DVC_FILE)).get("stages")
    if not isinstance(stages, dict):
        raise UserError(f"{DVC_FILE}: expected `stages:` with one entry a stage, got {stages!r}")
    return {name: _stage(name, entry) for name, entry in stages.items()}


def read_lock() -> dict[str, dict[str, Any]]:
    """Read the entries of dvc.lock, by stage; empty if it is missing.

    Raises:
        UserError: If the file is malformed, such as in the middle of a merge.
    """
    path = Path("dvc.lock")
    try:
        return read_mapping(path)["stages"] if path.exists() else {}
    except (UserError, KeyError) as error:
        raise UserError(f"{path}: is not what DVC wrote, or not all of it; delete it, then run `dvc repro`") from error


def _stage(name: str, entry: Mapping[str, Any]) -> Stage:
    deps, outs = _paths(entry, "deps"), _paths(entry, "outs", "metrics", "plots")
    if resolved := [key for key in RESOLVED if key in entry] + [path for path in (*deps, *outs) if "${" in path]:
        raise UserError(f"{DVC_FILE}: stage {name} uses {resolved[0]}, which only DVC can resolve; write it out")
    return Stage(name, deps, _param_names(name, entry.get("params") or []), outs)


def _paths(entry: Mapping[str, Any], *kinds: str) -> tuple[str, ...]:
    """Normalised paths in a stage's lists, where a path may have options."""
    items = [item for kind in kinds for item in entry.get(kind) or []]
    return tuple(normpath(str(next(iter(item)) if isinstance(item, dict) else item)) for item in items)


def _param_names(stage: str, entries: Iterable[Any]) -> tuple[str, ...] | None:
    names: list[str] = []
    for entry in entries:
        files = {PARAMS_FILE: [entry]} if isinstance(entry, str) else entry
        if others := [file for file in files if file != PARAMS_FILE]:
            raise UserError(f"{DVC_FILE}: stage {stage} takes params from {others[0]}; expected {PARAMS_FILE} alone")
        # `params.yaml:` without names is DVC's syntax for the whole file.
        if files[PARAMS_FILE] is None:
            return None
        names += files[PARAMS_FILE]
    return tuple(names)


def read_params(names: tuple[str, ...] | None) -> dict[str, Any]:
    """Read values from params.yaml by name, as DVC does; None: all values.

    Raises:
        UserError: If the file is not a mapping, has a duplicate key, or lacks one of the names.
    """
    if names == ():
        return {}
    values = read_mapping(Path(PARAMS_FILE))
    return values if names is None else {name: _value(values, name) for name in names}


def _value(values: Any, name: str) -> Any:
    for key in name.split("."):
        if not isinstance(values, dict) or key not in values:
            raise UserError(f"{PARAMS_FILE}: {name} is missing, which {DVC_FILE} declares")
        values = values[key]
    return values
