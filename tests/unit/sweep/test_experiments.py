import json
import os
import subprocess
from pathlib import Path

import pytest

from src.core.errors import UserError
from src.core.receipt import format_receipt
from src.mnist.model.params import Params
from src.sweep.experiments import NAME, by_name, name_of, read_base, read_result
from src.sweep.experiments import Run as Asked
from tests.conftest import REPOSITORY
from tests.unit.sweep.conftest import GIT_USER

CODE = {"train": {"src/core": "1.dir", "src/mnist/train": "2.dir"}, "evaluate": {"src/core": "1.dir"}}
METRICS = {"train": {"final": {"val_acc": 0.9}}, "eval": {"test_acc": 0.8}}


def test_a_name_depends_on_params_and_code_and_on_nothing_else(params: Params) -> None:
    values = params.model_dump()
    name = name_of(values, CODE)
    assert NAME.fullmatch(name)
    assert name == name_of(dict(reversed(values.items())), json.loads(json.dumps(CODE)))
    assert name == name_of(values | {"weight_decay": 0}, CODE)
    others = {
        name_of(values | {"seed": 1}, CODE),
        name_of(values | {"tta_shift": 1}, CODE),
        name_of(values, {**CODE, "evaluate": {"src/core": "3.dir"}}),
        name_of(values, {"train": CODE["train"]}),
    }
    assert len(others | {name}) == 5


def test_the_code_is_what_the_committed_receipts_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    base = read_base()
    assert list(base.code) == ["fetch", "train", "evaluate"]
    rooms = {"src/core", "src/mnist/data", "src/mnist/model", "src/mnist/train"}
    assert set(base.code["train"]) >= {"stages/train.py", *rooms}
    assert base.params["lr"]


@pytest.fixture
def experiment(tmp_path: Path, params: Params) -> Path:
    """A commit with the receipts and metrics of a run of CODE."""
    stages = {
        stage: {
            "cmd": stage,
            "outs": [{f"receipts/{stage}.json": {"cache": False}}],
            "metrics": [f"metrics/{file}.json"],
        }
        for stage, file in (("train", "train"), ("evaluate", "eval"))
    }
    files = {"dvc.yaml": json.dumps({"stages": stages})}
    for stage, deps in CODE.items():
        receipt = {"stage": stage, "deps": deps, "params": {"lr": params.lr}, "outs": {}, "versions": {}, "machine": {}}
        files[f"receipts/{stage}.json"] = format_receipt(receipt)
    files["plots/history.csv"] = "epoch,loss,val_acc\n1,2.0,0.8\n2,1.0,0.9\n"
    files |= {f"metrics/{file}.json": json.dumps(content) for file, content in METRICS.items()}
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    commit(tmp_path, "init")
    return tmp_path


def commit(folder: Path, *first: str) -> None:
    for words in (first, ("add", "--all"), ("commit", "--quiet", "--message", "x")):
        if words:
            subprocess.run(["git", *words], cwd=folder, env={**os.environ, **GIT_USER}, check=True, capture_output=True)


def test_an_experiment_of_the_run_is_read(experiment: Path, params: Params) -> None:
    result = read_result(experiment, Asked("run-x", params.model_dump()), "HEAD", CODE)
    assert result.score == 0.9
    assert list(result.receipts) == ["train", "evaluate"]
    assert result.history == {1: 0.8, 2: 0.9}


def test_an_experiment_of_another_run_is_refused(experiment: Path, params: Params) -> None:
    asked = Asked("run-x", params.model_dump())

    def said(run: Asked, code: dict) -> str:
        with pytest.raises(UserError) as caught:
            read_result(experiment, run, "HEAD", code)
        assert "`dvc exp remove run-x` removes it" in str(caught.value)
        return str(caught.value)

    other = Asked("run-x", params.model_dump() | {"lr": 0.5})
    assert said(other, CODE).startswith("receipts/train.json of run-x: is the receipt of another run; lr differs")
    assert "src/core differs" in said(asked, {**CODE, "evaluate": {"src/core": "3.dir"}})
    assert "receipts/fetch.json of run-x: is missing" in said(asked, {**CODE, "fetch": {}})
    (experiment / "receipts/train.json").write_text("{}")
    commit(experiment)
    assert "receipts/train.json of run-x: expected a list of one receipt" in said(asked, CODE)


@pytest.mark.parametrize("score", ["NaN", '"0.9"', "null"])
def test_a_score_that_is_no_number_is_refused(experiment: Path, params: Params, score: str) -> None:
    (experiment / "metrics/train.json").write_text(f'{{"final": {{"val_acc": {score}}}}}')
    commit(experiment)
    with pytest.raises(UserError, match=r"metrics/train\.json of run-x: expected finite numbers in final\.val_acc"):
        read_result(experiment, Asked("run-x", params.model_dump()), "HEAD", CODE)


def test_only_experiments_are_taken_for_experiments() -> None:
    real = f"refs/exps/ab/{'0' * 38}/run-1"
    assert by_name(["refs/exps/exec/EXEC_HEAD", "refs/exps/stash", "refs/exps/celery/stash", "refs/heads/x", real]) == {
        "run-1": real
    }
