import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from src.core.errors import UserError
from src.core.receipt import format_receipt
from src.mnist.model.params import Params
from src.revision.tree import Tree, open_tree
from src.sweep.identity import NAME, check_name, code_of, name_of, params_of
from src.sweep.records import by_name
from tests.conftest import REPOSITORY

CODE = {"train": {"src/core": "1.dir", "src/mnist/train": "2.dir"}, "evaluate": {"src/core": "1.dir"}}


def test_a_name_depends_on_params_and_code_and_on_nothing_else(params: Params) -> None:
    name = name_of(params, CODE)
    assert NAME.fullmatch(name)
    assert name == name_of(params.model_copy(), json.loads(json.dumps(CODE)))
    others = {
        name_of(params.model_copy(update={"seed": 1}), CODE),
        name_of(params.model_copy(update={"tta_shift": 1}), CODE),
        name_of(params, {**CODE, "evaluate": {"src/core": "3.dir"}}),
        name_of(params, {"train": CODE["train"]}),
    }
    assert len(others | {name}) == 5


def test_a_number_written_otherwise_is_the_same(params: Params) -> None:
    other = Params.model_validate({**params.model_dump(), "weight_decay": 0})
    assert name_of(other, CODE) == name_of(params, CODE)


def test_the_code_is_what_the_committed_receipts_name() -> None:
    with open_tree(REPOSITORY, "tree", None) as files:
        code = code_of(files)
        assert list(code) == ["fetch", "train", "evaluate"]
        rooms = {"src/core", "src/mnist/data", "src/mnist/model", "src/mnist/train"}
        assert set(code["train"]) == {"stages/train.py", *rooms}
        assert params_of(files).model_dump()


@pytest.fixture
def experiment(tmp_path: Path, params: Params) -> Iterator[Tree]:
    """The receipts of a run of CODE, as files."""
    for stage, deps in CODE.items():
        receipt = {"stage": stage, "deps": deps, "params": {"lr": params.lr}, "outs": {}, "versions": {}, "machine": {}}
        (tmp_path / "receipts").mkdir(exist_ok=True)
        (tmp_path / f"receipts/{stage}.json").write_text(format_receipt(receipt))
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    with open_tree(tmp_path, "run-x", None) as tree:
        yield tree


def test_receipts_of_the_run_are_accepted(experiment: Tree, params: Params) -> None:
    assert list(check_name("run-x", experiment, params, CODE)) == ["train", "evaluate"]


def test_receipts_of_another_run_are_refused(experiment: Tree, params: Params) -> None:
    with pytest.raises(UserError, match=r"receipts/train\.json of run-x: is the receipt of another run; lr differs"):
        check_name("run-x", experiment, params.model_copy(update={"lr": 0.5}), CODE)
    with pytest.raises(UserError, match="src/core differs"):
        check_name("run-x", experiment, params, {**CODE, "evaluate": {"src/core": "3.dir"}})
    with pytest.raises(UserError, match=r"receipts/fetch\.json of run-x: is not a receipt"):
        check_name("run-x", experiment, params, {**CODE, "fetch": {}})


def test_only_experiments_are_taken_for_experiments() -> None:
    real = f"refs/exps/ab/{'0' * 38}/run-1"
    assert by_name(["refs/exps/exec/EXEC_HEAD", "refs/exps/stash", "refs/exps/celery/stash", "refs/heads/x", real]) == {
        "run-1": real
    }
