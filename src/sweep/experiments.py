"""DVC experiments: their names, and their results in git.

A run has the same name in every clone, and different runs have different names: a name is a hash of all params and of
every file that dvc.yaml lists and no stage produces, such as code and requirements.lock, but not of docs and tests. It
excludes the machine, which receipts record.
"""

import csv
import hashlib
import io
import json
import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from dvc.repo import Repo
from pydantic import FiniteFloat, Strict

from src.core.errors import UserError
from src.core.receipt import PARAMS_FILE, receipt_path
from src.revision.git import find_root
from src.revision.parsing import validated
from src.revision.pipeline import source_md5, tracked_above, upwards
from src.revision.receipts import Receipt
from src.revision.revision import Revision, open_revision
from src.sweep.git import git

HASH_DIGITS = 12
NAME = re.compile(rf"run-[0-9a-f]{{{HASH_DIGITS}}}")
# refs/exps/<hash of the commit it started from, split after two digits>/<name>. DVC uses other references internally.
REFERENCE = re.compile(r"refs/exps/[0-9a-f]{2}/[0-9a-f]{38,62}/([^/]+)")
# Besides the code and params, these files determine what a run does.
RULES = ("dvc.yaml", ".dvcignore", ".dvc/config", ".gitattributes")
TRAIN, EVAL = "metrics/train.json", "metrics/eval.json"
# Settings are chosen by the validation accuracy of the saved model, never by the test set.
SCORE, TEST_SCORE = "final.val_acc", "test_acc"
# The table that training writes after each epoch, and the columns that a pruner compares.
HISTORY, STEP, VALUE = "plots/history.csv", "epoch", "val_acc"
# What to do if experiments were removed, since the study knows their results and would not run them again.
FORGET = "delete the study, which is logs/sweep/optuna.db or in STORAGE (`optuna delete-study`)"
FETCH = "`dvc exp pull --all-commits --no-cache origin` brings those of others"
# Hash of each dependency that no stage produces, by stage and path: code, and data that a .dvc file tracks. A path
# within a tracked folder has the hash of the whole folder.
Code = Mapping[str, Mapping[str, str]]
Number = Annotated[FiniteFloat, Strict()]


@dataclass(frozen=True)
class Result:
    """An experiment: all params, test metrics by name, receipts by stage, and the history that pruners compare."""

    name: str
    params: Mapping[str, Any]
    commit: str
    score: float
    test: Mapping[str, float]
    receipts: Mapping[str, Receipt]
    history: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Base:
    """The commit that experiments start from, in a project that may be in a subfolder of the git repository."""

    root: Path
    commit: str
    code: Code
    # Content of params.yaml.
    params: Mapping[str, Any]
    # Stages that write a receipt: not check, which reads requirements.lock.
    receipts: Collection[str] = ()

    @property
    def sources(self) -> list[tuple[str, str]]:
        """Path and hash of everything in `code`."""
        return [one for hashes in self.code.values() for one in hashes.items()]

    def name(self, params: Mapping[str, Any]) -> str:
        """Name of the experiment that runs this commit's code with these params; 0 and 0.0 are equal."""
        same = {
            key: int(value) if isinstance(value, float) and value.is_integer() else value
            for key, value in params.items()
        }
        text = json.dumps([same, self.code], sort_keys=True)
        return f"run-{hashlib.sha256(text.encode()).hexdigest()[:HASH_DIGITS]}"

    def reference(self, name: str) -> str:
        """DVC's reference of an experiment that starts from this commit."""
        return f"refs/exps/{self.commit[:2]}/{self.commit[2:]}/{name}"


def read_base(revision: str = "HEAD") -> Base:
    """Read a commit; raises UserError if it does not exist, or if dvc.yaml lists a file that it lacks."""
    root = find_root()
    with open_revision(root, revision) as found:
        assert found.commit
        code = {
            stage: {path: source_md5(found.tree, path) or tracked_above(found.tree, path) or "" for path in paths}
            for stage, paths in found.pipeline.sources.items()
        }
        base = Base(root, found.commit, code, _params(found), tuple(found.receipts))
        if lost := [path for path, md5 in base.sources if not md5]:
            raise UserError(
                f"{lost[0]} of {revision}: dvc.yaml names it, but it is not committed; run `git add`, or `dvc add` for "
                "data, and commit"
            )
        return base


def check_committed(base: Base) -> None:
    """Raise UserError if code or params in the working tree differ from the commit, which experiments run."""
    paths = {path for path, _ in base.sources}
    tracked = {f"{folder}.dvc" for path in paths for folder in upwards(path)}
    asked = sorted({*paths, *tracked, PARAMS_FILE, *RULES})
    changed = git(base.root, "status", "--porcelain", "--untracked-files=all", "--", *asked).splitlines()
    if changed:
        where = changed[0][3:]
        raise UserError(f"{where}: not committed, and a sweep runs what is committed; commit or undo it")
    with Repo(os.fspath(base.root)) as repo:
        files = (path for file in sorted(tracked) if (path := base.root / file).is_file())
        for out in (out for file in files for stage in repo.stage.load_all(os.fspath(file)) for out in stage.outs):
            # Missing data may be in the cache, and is not needed at all if every experiment is already known.
            if "modified" in out.workspace_status().values():
                raise UserError(
                    f"{out}: changed, and a sweep runs what is committed; `dvc add {out}` and commit, or `dvc checkout`"
                )


def references(root: Path) -> dict[str, str]:
    """Reference of every experiment in this clone, by the experiment's name, oldest first."""
    listed = git(root, "for-each-ref", "--sort=committerdate", "--format=%(refname)", "refs/exps")
    return by_name(listed.splitlines())


def by_name(listed: Sequence[str]) -> dict[str, str]:
    """Select the references that are experiments, by name."""
    return {found[1]: reference for reference in listed if (found := REFERENCE.fullmatch(reference))}


def read_result(base: Base, reference: str) -> Result | None:
    """Read an experiment in this clone; None if other code produced it.

    Raises:
        UserError: If its receipts belong to another run, or its metrics are not numbers.
    """
    name = reference.rpartition("/")[2]
    try:
        with open_revision(base.root, reference, name) as found:
            params = _params(found)
            return _result(name, params, found, base) if base.name(params) == name else None
    except UserError as error:
        raise UserError(
            f"{error}; `dvc exp remove {name}` removes it (on the remote: `--git-remote origin`), and the next sweep "
            f"runs it again; if the study is complete, {FORGET}"
        ) from error


def read_all(base: Base) -> tuple[list[Result], list[str]]:
    """Read this clone's experiments of a commit's code, oldest first, and describe those that cannot be used."""
    results, problems = [], []
    for name, reference in references(base.root).items():
        try:
            if NAME.fullmatch(name) and (result := read_result(base, reference)):
                results.append(result)
        except UserError as error:
            problems.append(str(error))
    return results, problems


def read_history(text: str) -> dict[int, float]:
    """Parse HISTORY as a value per epoch; empty if it is malformed, since it may be only partly written."""
    try:
        return {int(row[STEP]): float(row[VALUE]) for row in csv.DictReader(io.StringIO(text))}
    except (KeyError, TypeError, ValueError):
        return {}


def _params(revision: Revision) -> dict[str, Any]:
    found = revision.params.get(PARAMS_FILE)
    if not isinstance(found, dict):
        raise UserError(f"{PARAMS_FILE} of {revision.name}: expected one `key: value` per line")
    return found


def _result(name: str, params: Mapping[str, Any], revision: Revision, base: Base) -> Result:
    receipts = {}
    for stage in base.receipts:
        receipt = revision.receipts.get(stage, UserError(f"{receipt_path(stage)} of {name}: is missing"))
        if isinstance(receipt, UserError):
            raise receipt
        wrong = [
            path
            for path, md5 in base.code[stage].items()
            if md5 not in (receipt.deps.get(path), tracked_above(revision.tree, path))
        ]
        wrong += [key for key, value in receipt.params.items() if params.get(key) != value]
        if wrong:
            raise UserError(
                f"{receipt_path(stage)} of {name}: is the receipt of another run; {', '.join(wrong)} differs"
            )
        receipts[stage] = receipt
    assert revision.commit
    score, test = _numbers(TRAIN, SCORE, revision)[SCORE], _numbers(EVAL, TEST_SCORE, revision)
    history = read_history(revision.text(HISTORY) or "")
    return Result(name, params, revision.commit, score, test, receipts, history)


def _numbers(path: str, needed: str, revision: Revision) -> dict[str, float]:
    found = revision.metrics.get(path) or {}
    if isinstance(found, UserError):
        raise found
    return validated(dict[str, Number], {needed: None, **found}, f"{path} of {revision.name}")
