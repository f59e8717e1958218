"""Writes a stage's receipt, and rejects results of earlier stages that do not match their receipts."""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from src.core.errors import UserError, one_line
from src.core.files import is_within, md5, write_json, written
from src.core.receipt import PARAMS_FILE, receipt_differences, receipt_path
from src.core.run import ReceiptFields
from src.core.values import same
from src.core.yaml_file import read_mapping
from src.guard.inputs import Inputs, md5_of, stamps_of
from src.guard.stage import DVC_FILE, Stage


def check_results_before(inputs: Inputs, stages: Mapping[str, Stage], lock: Mapping[str, Any]) -> None:
    """Raise UserError if dvc.lock or a result that a stage builds on does not match the receipt of that result.

    Args:
        inputs: Inputs of the stage.
        stages: All stages.
        lock: Entries of dvc.lock, by stage.
    """
    for name, stage in stages.items():
        # A dependency may be a folder with the output, or a file in it.
        deps = inputs.stage.deps
        used = [out for out in stage.outs if is_within(out, deps) or any(is_within(dep, [out]) for dep in deps)]
        if not used or receipt_path(name) not in stage.outs:
            continue
        locked = lock.get(name, {})
        check_receipt(name, locked)
        for out in used:
            found = md5_of(out, {path: inputs.md5.get(path) or md5(Path(path)) for path in stamps_of([out])})
            if found != (recorded := _by_path(locked, "outs").get(out)):
                raise UserError(
                    f"{out}: is not what stage {name} wrote (md5 {found}, dvc.lock has {recorded}); "
                    f"run `dvc repro --single-item --force {name}`"
                )


def check_receipt(stage: str, locked: Mapping[str, Any]) -> None:
    """Raise UserError if the receipt of a stage contradicts its entry in dvc.lock, is missing or malformed."""
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


def _by_path(locked: Mapping[str, Any], kind: str) -> dict[str, str | None]:
    """MD5 of every dependency or output in an entry of dvc.lock, by normalised path."""
    return {os.path.normpath(one["path"]): one.get("md5") for one in locked.get(kind, [])}


def check_recordable(inputs: Inputs) -> None:
    """Raise UserError if a param cannot be recorded in a receipt, which is JSON."""
    for name, value in inputs.params.items():
        try:
            recorded = json.loads(json.dumps(value, allow_nan=False))
        except (TypeError, ValueError) as error:
            raise UserError(
                f"{PARAMS_FILE}: {name} cannot be recorded ({one_line(error)}); choose another value"
            ) from error
        if not same(recorded, value):
            raise UserError(f"{PARAMS_FILE}: {name} has a key that is not text; put it in quotes")


def changed_inputs(inputs: Inputs, lock: Mapping[str, Any]) -> set[str]:
    """Names of params and paths of dependencies that differ from those of the stage's result in dvc.lock."""
    entry = lock.get(inputs.stage.name, {})
    then = {**_by_path(entry, "deps"), **entry.get("params", {}).get(PARAMS_FILE, {})}
    now = {**inputs.deps, **inputs.params}
    return {name for name in {**then, **now} if name not in then or name not in now or then[name] != now[name]}


def forget_runs(inputs: Inputs) -> None:
    """Remove a stage's earlier runs with the same inputs from DVC's run cache.

    DVC restores the newest of them. A manual `dvc commit` may have added a false one, and DVC would not renew a true
    one that is older.
    """
    # Imported here because hardly any run needs it.
    from src.guard.preflight import cache_folder

    marks = [text.encode() for text in (receipt_path(inputs.stage.name), *inputs.deps.values())]
    for path in (cache_folder() / "runs").glob("*/*/*"):
        # It may be another user's, or no longer be there.
        with suppress(OSError, UserError):
            content = path.read_bytes()
            if all(mark in content for mark in marks) and not changed_inputs(
                inputs, {inputs.stage.name: read_mapping(path)}
            ):
                path.unlink()


def write_receipt(inputs: Inputs, fields: ReceiptFields, machine: Mapping[str, Any]) -> None:
    """Check that the stage wrote its outputs, and write its receipt, if dvc.yaml declares one.

    Args:
        inputs: Inputs of the stage.
        fields: Fields that the stage adds.
        machine: Facts about the machine from the guard.

    Raises:
        UserError: If another declared output is missing, or differs from what the stage wrote.
    """
    stage, path = inputs.stage, receipt_path(inputs.stage.name)
    outs = {out: _md5_as_written(out) for out in stage.outs if out != path}
    if path not in stage.outs:
        return
    content = {
        "stage": stage.name,
        "deps": inputs.deps,
        "params": inputs.params,
        "outs": outs,
        "versions": dict(fields.versions),
        "machine": {**machine, **fields.machine} if fields.machine else {},
    }
    write_json(Path(path), [content])


def _md5_as_written(out: str) -> str:
    if not Path(out).exists():
        raise UserError(f"{out}: is missing, which {DVC_FILE} lists among the stage's outputs; let the stage write it")
    there = {path: md5(Path(path)) for path in stamps_of([out])}
    if others := [path for path in there if written.get(os.fspath(Path.cwd() / path)) != there[path]]:
        raise UserError(
            f"{', '.join(others)}: is not what the stage wrote with src.core.files in this run, so the result is void; "
            "write it with that, and run `dvc repro` again"
        )
    return md5_of(out, there)
