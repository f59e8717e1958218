"""Writes a stage's receipt, and checks dvc.lock against the receipts of the stages before it."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from src.core.errors import UserError
from src.core.files import md5, write_text
from src.core.receipt import PARAMS_FILE, folder_md5, format_receipt, receipt_path, why_void_in
from src.core.run import Facts
from src.core.writing import is_within
from src.core.yaml_file import read_mapping
from src.guard.inputs import IGNORE, Declaration, Inputs, look_at_files


def write_receipt(
    declaration: Declaration, inputs: Inputs, facts: Facts, machine: Mapping[str, Any], written: Mapping[str, str]
) -> None:
    """Write the receipt of a stage whose outputs are in place, if dvc.yaml declares one.

    Args:
        declaration: The stage.
        inputs: What it read.
        facts: What it adds.
        machine: What is known of the machine without it.
        written: MD5 of every file that it wrote, by path.

    Raises:
        UserError: If another declared output is missing, or is not what the stage wrote.
    """
    path = receipt_path(declaration.stage)
    if path not in declaration.outs:
        return
    content = {
        "stage": declaration.stage,
        "deps": inputs.deps(),
        "params": inputs.params,
        "outs": {out: _out_md5(out, written) for out in declaration.outs if out != path},
        "versions": dict(facts.versions),
        "machine": {**machine, **facts.machine} if facts.machine else {},
    }
    write_text(Path(path), format_receipt(content))


def _out_md5(out: str, written: Mapping[str, str]) -> str:
    files = {path: digest for path, digest in written.items() if is_within(path, [out])}
    there = {path: md5(Path(path)) for path in look_at_files((out,))[out]}
    if others := [path for path in {**files, **there} if files.get(path) != there.get(path)]:
        raise UserError(
            f"{', '.join(others)}: is not what the stage wrote, so the result is void; run `dvc repro` again"
        )
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
        if wrong := why_void_in(Path(), stage.stage, lock.get(stage.stage, {})):
            raise UserError(wrong)


def is_locked(declaration: Declaration, inputs: Inputs) -> bool:
    """Whether dvc.lock holds a result of the stage for these inputs."""
    path = Path("dvc.lock")
    locked = read_mapping(path)[0]["stages"].get(declaration.stage) if path.exists() else None
    if locked is None:
        return False
    deps = {dep["path"]: dep.get("md5") for dep in locked.get("deps", [])}
    return deps == inputs.deps() and locked.get("params", {}).get(PARAMS_FILE, {}) == inputs.params


def imported_files(sources: Mapping[str, bytes]) -> set[Path]:
    """Files of the project that were imported so far.

    Args:
        sources: Content of the files of `src` and `stages` as they were compiled, by absolute path.

    Returns:
        Those files, and all others below the current directory except those of the Python that runs this.
    """
    root, pythons = str(Path.cwd()), (sys.prefix, sys.base_prefix)
    loaded = {file for module in list(sys.modules.values()) if (file := getattr(module, "__file__", None))}
    # Not paths as objects: there are thousands of modules.
    others = {file for file in loaded if is_within(file, [root]) and not is_within(file, pythons)}
    return {Path(name) for name in {*sources, *others}}


def check_imports(declaration: Declaration, inputs: Inputs, imported: set[Path]) -> None:
    """Check the files that a stage imported against its inputs.

    Raises:
        UserError: If one is not declared, or was not there when the inputs were hashed, or is hidden from DVC.
    """
    for name in sorted(os.path.relpath(path) for path in imported):
        if name in inputs.md5_by_path:
            continue
        if is_within(name, declaration.deps):
            raise UserError(
                f"{name}: was imported but is not among the hashed inputs; it was added during the run, or "
                f"{IGNORE} hides it; remove what does not belong there and run `dvc repro` again"
            )
        raise UserError(f"{name}: was imported but is not a dependency in dvc.yaml; declare it")
