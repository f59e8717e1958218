"""DVC's experiments as git keeps them: references, and the files of the commits that they point to."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.core.errors import UserError
from src.mnist.model.params import Params
from src.revision.git import run_git
from src.revision.parsing import MAX_JSON_BYTES, flatten, parse_json
from src.revision.tree import Tree, open_tree
from src.sweep.identity import Code, check_name

TRAIN, EVAL = "metrics/train.json", "metrics/eval.json"
# Settings are chosen by the validation accuracy of the saved model. The test set chooses nothing.
SCORE, TEST_SCORE = "final.val_acc", "test_acc"
NEEDED = {TRAIN: SCORE, EVAL: TEST_SCORE}
# refs/exps/<hash of the commit that it began from, cut after two digits>/<name>. DVC's others are for its own use.
REFERENCE = re.compile(r"refs/exps/[0-9a-f]{2}/[0-9a-f]{38,62}/([^/]+)")


@dataclass(frozen=True)
class Run:
    """One run that was asked for.

    Attributes:
        name: Name of its experiment.
        params: What it is run with.
    """

    name: str
    params: Params


@dataclass(frozen=True)
class Result:
    """A run that was made.

    Attributes:
        run: What was asked for.
        commit: The experiment's commit.
        metrics: Numbers by file, then by name with dots between the levels.
        receipts: By stage.
    """

    run: Run
    commit: str
    metrics: dict[str, dict[str, float]]
    receipts: dict[str, dict[str, Any]]


def references(root: Path) -> dict[str, str]:
    """Reference of every experiment in this clone, by the experiment's name."""
    listed = run_git(root, "for-each-ref", "--format=%(refname)", "refs/exps").decode().splitlines()
    return by_name(listed)


def by_name(listed: Sequence[str]) -> dict[str, str]:
    """Those references that are experiments, by name."""
    return {found[1]: reference for reference in listed if (found := REFERENCE.fullmatch(reference))}


def read_results(root: Path, runs: Sequence[Run], code: Code) -> tuple[list[Result], list[str]]:
    """Read the experiments of those runs that were made.

    Args:
        root: Top folder of the repository.
        runs: What was asked for.
        code: The code that they are named after.

    Returns:
        (results, problems): problems are lines about experiments that cannot be used.
    """
    known = references(root)
    results, problems = [], []
    for run in runs:
        if run.name not in known:
            continue
        try:
            results.append(read_result(root, run, known[run.name], code))
        except UserError as error:
            problems.append(f"{error}; `dvc exp remove {run.name}` removes it, and the next sweep runs it again")
    return results, problems


def read_result(root: Path, run: Run, reference: str, code: Code) -> Result:
    """Read one experiment.

    Raises:
        UserError: If it was not run with these params and this code, or if its metrics are not numbers.
    """
    commit = run_git(root, "rev-parse", "--verify", f"{reference}^{{commit}}").decode().strip()
    with open_tree(root, run.name, commit) as snapshot:
        receipts = check_name(run.name, snapshot, run.params, code)
        return Result(run, commit, {path: _numbers(snapshot, path) for path in NEEDED}, receipts)


def _numbers(snapshot: Tree, path: str) -> dict[str, float]:
    where = f"{path} of {snapshot.name}"
    content = flatten(parse_json(snapshot.read(path, MAX_JSON_BYTES) or b"", where))
    wrong = [name for name, value in content.items() if not _is_finite(value)]
    if NEEDED[path] not in content:
        wrong.append(NEEDED[path])
    if wrong:
        raise UserError(f"{where}: expected finite numbers in {', '.join(wrong)}")
    return content


def _is_finite(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)
