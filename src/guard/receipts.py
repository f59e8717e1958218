"""Writes a stage's receipt, and checks dvc.lock against the receipts of the stages before it."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from src.core.errors import UserError
from src.core.files import md5, write_text
from src.core.receipt import PARAMS_FILE, folder_md5, format_receipt, receipt_path, why_void
from src.core.run import Facts
from src.core.yaml_file import read_mapping
from src.guard.inputs import Declaration, Inputs, look_at_files


def write_receipt(declaration: Declaration, inputs: Inputs, facts: Facts, machine: Mapping[str, Any]) -> None:
    """Write the receipt of a stage whose outputs are in place, if dvc.yaml declares one.

    Raises:
        UserError: If another declared output is missing.
    """
    path = receipt_path(declaration.stage)
    if path not in declaration.outs:
        return
    content = {
        "stage": declaration.stage,
        "deps": inputs.deps(),
        "params": inputs.params,
        "outs": {out: _out_md5(out) for out in declaration.outs if out != path},
        "versions": dict(facts.versions),
        "machine": {**machine, **facts.machine} if facts.machine else {},
    }
    write_text(Path(path), format_receipt(content))


def _out_md5(out: str) -> str:
    files = {path: md5(Path(path)) for path in look_at_files((out,))[out]}
    return files[out] if out in files else folder_md5({os.path.relpath(path, out): files[path] for path in files})


def check_receipts_before(declaration: Declaration, stages: Mapping[str, Declaration]) -> None:
    """Refuse to build on a result that dvc.lock records incorrectly.

    Raises:
        UserError: If the receipt of a stage whose outputs this one reads contradicts dvc.lock, or is missing.
    """
    lock: dict[str, Any] = {}
    for stage in stages.values():
        if receipt_path(stage.stage) not in stage.outs or not set(stage.outs) & set(declaration.deps):
            continue
        lock = lock or read_mapping(Path("dvc.lock"))[0]["stages"]
        receipt = Path(receipt_path(stage.stage))
        text = receipt.read_text(encoding="utf-8", errors="replace") if receipt.exists() else None
        if wrong := why_void(stage.stage, text, lock.get(stage.stage, {})):
            raise UserError(f"{wrong}; run `dvc repro --single-item --force {stage.stage}`")


def is_locked(declaration: Declaration, inputs: Inputs) -> bool:
    """Whether dvc.lock holds a result of the stage for these inputs."""
    path = Path("dvc.lock")
    locked = read_mapping(path)[0]["stages"].get(declaration.stage) if path.exists() else None
    if locked is None:
        return False
    deps = {dep["path"]: dep.get("md5") for dep in locked.get("deps", [])}
    return deps == inputs.deps() and locked.get("params", {}).get(PARAMS_FILE, {}) == inputs.params


def imported_files(sources: Mapping[str, bytes]) -> set[Path]:
    """Files below the current directory that were imported so far, except those of the virtual environment.

    Args:
        sources: Content of the files of `src` and `stages` as they were compiled, by absolute path.
    """
    root, environment = Path.cwd(), Path(sys.prefix)
    loaded = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    paths = {Path(name) for name in [*sources, *filter(None, loaded)]}
    return {path for path in paths if path.is_relative_to(root) and not path.is_relative_to(environment)}


def check_imports(declaration: Declaration, imported: set[Path]) -> None:
    """Check the files that a stage imported against the dependencies that dvc.yaml declares.

    Raises:
        UserError: If one is not declared.
    """
    root = Path.cwd()
    for path in sorted(imported):
        if not any(path.is_relative_to(root / dep) for dep in declaration.deps):
            raise UserError(f"{path.relative_to(root)}: was imported but is not a dependency in dvc.yaml; declare it")
