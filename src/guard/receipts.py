"""Writes a stage's receipt, and rejects results of earlier stages that do not match their receipts."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from src.core.errors import UserError, one_line
from src.core.files import md5, write_text, written
from src.core.receipt import PARAMS_FILE, format_receipt, receipt_differences, receipt_path
from src.core.run import ReceiptFields
from src.guard.inputs import VOID, Inputs, md5_of, stamps_of
from src.guard.stage import DVC_FILE, Stage


def check_results_before(inputs: Inputs, stages: Mapping[str, Stage], lock: Mapping[str, Any]) -> None:
    """Raise UserError if dvc.lock or a result that a stage builds on does not match the receipt of that result.

    Args:
        inputs: Inputs of the stage.
        stages: All stages.
        lock: Entries of dvc.lock, by stage.
    """
    for name, stage in stages.items():
        used = set(stage.outs) & set(inputs.stage.deps)
        if not used or receipt_path(name) not in stage.outs:
            continue
        outs = check_receipt(name, lock.get(name, {}))
        for path in sorted(used):
            if inputs.deps[path] != (recorded := outs.get(path)):
                raise UserError(
                    f"{path}: is not what stage {name} wrote (md5 {inputs.deps[path]}, its receipt has {recorded}); "
                    f"run `dvc repro --single-item --force {name}`"
                )


def check_receipt(stage: str, locked: Mapping[str, Any]) -> dict[str, str]:
    """Read the MD5 of every output except the receipt, by path, from the receipt of a stage.

    Raises:
        UserError: If the receipt contradicts the stage's entry in dvc.lock, is missing or malformed.
    """
    path = receipt_path(stage)
    repair = f"run `dvc repro --single-item --force {stage}`"
    params = locked.get("params", {}).get(PARAMS_FILE, {})
    try:
        (receipt,) = json.loads(Path(path).read_bytes())
        wrong = receipt_differences(receipt, _by_path(locked, "deps"), params, _by_path(locked, "outs"))
    except FileNotFoundError as error:
        raise UserError(f"{path}: is missing, so nothing shows what stage {stage} was run with; {repair}") from error
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError, IsADirectoryError) as error:
        raise UserError(f"{path}: is not a receipt ({one_line(error)}); {repair}") from error
    if receipt["stage"] != stage:
        raise UserError(
            f"{path}: expected the receipt of stage {stage}, got that of stage {receipt['stage']}; {repair}"
        )
    if wrong:
        raise UserError(f"dvc.lock contradicts {path} in {', '.join(wrong)}; {repair}")
    return receipt["outs"]


def _by_path(locked: Mapping[str, Any], kind: str) -> dict[str, str | None]:
    """MD5 of every dependency or output in an entry of dvc.lock, by normalised path."""
    return {os.path.normpath(one["path"]): one.get("md5") for one in locked.get(kind, [])}


def check_recordable(inputs: Inputs) -> None:
    """Raise UserError if the stage writes a receipt, but a param cannot be stored as JSON."""
    for name, value in inputs.params.items() if receipt_path(inputs.stage.name) in inputs.stage.outs else ():
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise UserError(
                f"{PARAMS_FILE}: {name} cannot be recorded ({one_line(error)}); choose another value"
            ) from error


def is_locked(inputs: Inputs, lock: Mapping[str, Any]) -> bool:
    """Whether dvc.lock has a result of the stage for these inputs."""
    entry = lock.get(inputs.stage.name, {})
    return _by_path(entry, "deps") == inputs.deps and entry.get("params", {}).get(PARAMS_FILE, {}) == inputs.params


def write_receipt(inputs: Inputs, fields: ReceiptFields, machine: Mapping[str, Any]) -> None:
    """Write the receipt of a stage, if dvc.yaml declares one.

    Args:
        inputs: Inputs of the stage.
        fields: Fields that the stage adds.
        machine: Facts about the machine from the guard.

    Raises:
        UserError: If another declared output is missing, or differs from what the stage wrote.
    """
    stage, path = inputs.stage, receipt_path(inputs.stage.name)
    if path not in stage.outs:
        return
    content = {
        "stage": stage.name,
        "deps": inputs.deps,
        "params": inputs.params,
        "outs": {out: _md5_as_written(out) for out in stage.outs if out != path},
        "versions": dict(fields.versions),
        "machine": {**machine, **fields.machine} if fields.machine else {},
    }
    write_text(Path(path), format_receipt(content))


def _md5_as_written(out: str) -> str:
    if not Path(out).exists():
        raise UserError(f"{out}: is missing, which {DVC_FILE} lists among the stage's outputs; let the stage write it")
    there = {path: md5(Path(path)) for path in stamps_of([out])}
    if others := [path for path in there if written.get(os.fspath(Path.cwd() / path)) != there[path]]:
        raise UserError(f"{', '.join(others)}: is not what the stage wrote with src.core.files, {VOID}")
    return md5_of(out, there)
