"""Receipts of the stages, and their comparison with dvc.lock. `src.core.receipt` documents them."""

from typing import Any

from pydantic import BaseModel, ConfigDict

from src.core.errors import UserError
from src.core.receipt import PARAMS_FILE, receipt_differences, receipt_path
from src.revision.parsing import validated
from src.revision.pipeline import Locked
from src.revision.tree import Tree


class Receipt(BaseModel):
    """What a stage read, used and wrote, as recorded by the stage itself."""

    model_config = ConfigDict(frozen=True, strict=True)

    stage: str
    deps: dict[str, str]
    params: dict[str, Any]
    outs: dict[str, str]
    versions: dict[str, str]
    machine: dict[str, Any]


def read_receipt(tree: Tree, stage: str) -> Receipt:
    """Read the receipt of a stage.

    Raises:
        UserError: If it is missing or malformed, or belongs to another stage.
    """
    path = receipt_path(stage)
    where = f"{path} of {tree.name}"
    if not tree.has(path):
        raise UserError(f"{where}: is missing, so nothing shows what stage {stage} was run with")
    match tree.parse(path):
        case [found]:
            receipt = validated(Receipt, found, where)
        case _:
            raise UserError(f"{where}: expected a list of one receipt")
    if receipt.stage != stage:
        raise UserError(f"{where}: expected the receipt of stage {stage}, got that of stage {receipt.stage}")
    return receipt


def lock_differences(receipt: Receipt, locked: Locked) -> list[str]:
    """Names of dependencies, params (`params.yaml: lr`) and outputs on which dvc.lock and a receipt disagree."""
    params = locked.params.get(PARAMS_FILE, {})
    return receipt_differences(receipt.model_dump(), locked.deps, params, locked.outs)
