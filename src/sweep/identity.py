"""Names of experiments: the same run has the same name in every clone, and another run never has it.

A name is a hash of all params and of the code that decides the result. Docs, tests, tools and the guard are not part
of it. Nor are installed packages and the machine, as for DVC; the receipts name them.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from src.core.errors import UserError
from src.core.receipt import PARAMS_FILE, parse_receipt, receipt_path
from src.mnist.model.params import Params, check_params
from src.revision.parsing import parse_yaml
from src.revision.pipeline import read_pipeline
from src.revision.tree import Tree

HASH_DIGITS = 12
NAME = re.compile(rf"run-[0-9a-f]{{{HASH_DIGITS}}}")
MAX_BYTES = 100_000  # bytes of params.yaml or a receipt
# Hash of each dependency that is code, by stage and path.
Code = Mapping[str, Mapping[str, str]]


def name_of(params: Params, code: Code) -> str:
    """Name of the experiment that runs this code with these params."""
    text = json.dumps([params.model_dump(), code], sort_keys=True)
    return f"run-{hashlib.sha256(text.encode()).hexdigest()[:HASH_DIGITS]}"


def code_of(snapshot: Tree) -> Code:
    """What the stages with a receipt depend on in a commit, besides the outputs of other stages.

    Raises:
        UserError: If dvc.yaml names a file that is not in the commit.
    """
    pipeline = read_pipeline(snapshot)
    code: dict[str, dict[str, str]] = {}
    for name, stage in pipeline.stages.items():
        if receipt_path(name) not in stage.outs:
            continue
        code[name] = {}
        for path in stage.deps:
            if path in pipeline.producers:
                continue
            found = snapshot.md5(path)
            if found is None:
                raise UserError(f"{path} of {snapshot.name}: dvc.yaml names it, but it is not committed; run `git add`")
            code[name][path] = found
    return code


def params_of(snapshot: Tree) -> Params:
    """params.yaml of a commit.

    Raises:
        UserError: If it is missing or not valid.
    """
    where = f"{PARAMS_FILE} of {snapshot.name}"
    content = parse_yaml(snapshot.read(PARAMS_FILE, MAX_BYTES) or b"", where)
    if not isinstance(content, dict):
        raise UserError(f"{where}: expected one `key: value` per line")
    return check_params(content, where)


def check_name(name: str, snapshot: Tree, params: Params, code: Code) -> dict[str, dict[str, Any]]:
    """Check that an experiment's receipts are those of the run that its name stands for.

    Args:
        name: The experiment's name.
        snapshot: Its files.
        params: What it should have been run with.
        code: As for `params`.

    Returns:
        The receipts by stage.

    Raises:
        UserError: If a receipt is missing, or is that of other params or other code.
    """
    receipts = {}
    for stage, hashes in code.items():
        path = receipt_path(stage)
        try:
            receipt = parse_receipt((snapshot.read(path, MAX_BYTES) or b"").decode())
        except ValueError as error:
            raise UserError(f"{path} of {name}: is not a receipt ({error})") from error
        wrong = [file for file, oid in hashes.items() if receipt["deps"].get(file) != oid]
        wrong += [key for key, value in receipt["params"].items() if getattr(params, key, None) != value]
        if wrong:
            raise UserError(f"{path} of {name}: is the receipt of another run; {', '.join(wrong)} differs")
        receipts[stage] = receipt
    return receipts
