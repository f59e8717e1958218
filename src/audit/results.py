"""The results in a working tree, each confirmed by dvc.lock and by the receipt of its stage."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from src.core.errors import UserError
from src.core.files import md5
from src.core.receipt import parse_receipt, receipt_path, why_void_in
from src.revision.parsing import flatten


@dataclass(frozen=True)
class Results:
    """What the stages of a repository wrote.

    Attributes:
        outputs: Hash of every output except the receipts, by path, as in dvc.lock.
        portable: Paths of the outputs that do not depend on the machine.
        made_with: Versions and machine of every stage, from its receipt, by `stage: name`.
        metrics: Values by name, with dots between the levels, of each metrics file by its path.
    """

    outputs: dict[str, str]
    portable: frozenset[str]
    made_with: dict[str, Any]
    metrics: dict[str, dict[str, Any]]


def read_results(repository: Path) -> Results:
    """Read the results in a working tree.

    Raises:
        UserError: If there are none, or if a file does not match dvc.lock.
    """
    lock = repository / "dvc.lock"
    if not lock.exists():
        raise UserError("the last commit has no dvc.lock, so there is no result to reproduce; run `dvc repro`, commit")
    stages = YAML(typ="safe").load(lock)["stages"]
    outputs = {out["path"]: out["md5"] for stage in stages.values() for out in stage["outs"]}
    for path, oid in outputs.items():
        if (repository / path).is_file() and md5(repository / path) != oid:
            raise UserError(
                f"{path}: was committed with content that dvc.lock does not have; run `dvc repro`, commit both"
            )
    receipts = {stage: _read_receipt(repository, stage, stages[stage]) for stage in stages if stage != "check"}
    portable = {path for receipt in receipts.values() if not receipt["machine"] for path in receipt["outs"]}
    made_with = {
        f"{stage}: {name}": value
        for stage, receipt in receipts.items()
        for name, value in {**receipt["versions"], **receipt["machine"]}.items()
    }
    kept = {path: oid for path, oid in outputs.items() if path not in map(receipt_path, receipts)}
    metrics = {path: flatten(_read_json(repository / path)) for path in kept if path.endswith(".json")}
    return Results(kept, frozenset(portable), made_with, metrics)


def _read_receipt(repository: Path, stage: str, locked: dict[str, Any]) -> dict[str, Any]:
    if wrong := why_void_in(repository, stage, locked):
        raise UserError(f"{wrong}, commit its results")
    return parse_receipt((repository / receipt_path(stage)).read_text(encoding="utf-8"))


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
