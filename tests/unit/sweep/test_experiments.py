import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from src.core.errors import UserError
from src.core.receipt import format_receipt
from src.mnist.model.params import Params
from src.sweep.experiments import NAME, Base, by_name, read_base, read_result
from tests.conftest import REPOSITORY, write_params

CODE = {"train": {"src/core": "1.dir", "src/mnist/train": "2.dir"}, "evaluate": {"src/core": "1.dir"}}
METRICS = {"train": {"final": {"val_acc": 0.9}}, "eval": {"test_acc": 0.8}}


def test_a_name_depends_on_params_and_code_and_on_nothing_else(params: Params) -> None:
    values, base = params.model_dump(), Base(Path(), "0" * 40, CODE, {})
    name = base.name(values)
    assert NAME.fullmatch(name)
    assert name == replace(base, code=json.loads(json.dumps(CODE))).name(dict(reversed(values.items())))
    assert name == base.name(values | {"weight_decay": 0})
    others = {
        base.name(values | {"seed": 1}),
        base.name(values | {"tta_shift": 1}),
        replace(base, code={**CODE, "evaluate": {"src/core": "3.dir"}}).name(values),
        replace(base, code={"train": CODE["train"]}).name(values),
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
def base(tmp_path: Path, params: Params) -> Base:
    return Base(tmp_path, "0" * 40, CODE, params.model_dump())


@pytest.fixture
def reference(base: Base, params: Params) -> str:
    """An experiment with the receipts and metrics of a run of CODE, which is checked out."""
    stages = {
        stage: {
            "cmd": stage,
            "outs": [{f"receipts/{stage}.json": {"cache": False}}],
            "metrics": [f"metrics/{file}.json"],
        }
        for stage, file in (("train", "train"), ("evaluate", "eval"))
    }
    files = {"dvc.yaml": json.dumps({"stages": stages}), "plots/history.csv": "epoch,val_acc\n1,0.8\n2,0.9\n"}
    for stage, deps in CODE.items():
        receipt = {"stage": stage, "deps": deps, "params": {"lr": params.lr}, "outs": {}, "versions": {}, "machine": {}}
        files[f"receipts/{stage}.json"] = format_receipt(receipt)
    files |= {f"metrics/{file}.json": json.dumps(content) for file, content in METRICS.items()}
    for path, text in files.items():
        (base.root / path).parent.mkdir(exist_ok=True)
        (base.root / path).write_text(text)
    write_params(base.root, params)
    git(base.root, "init")
    reference = base.reference(base.name(base.params))
    git(base.root, "symbolic-ref", "HEAD", reference)
    commit(base.root)
    return reference


def git(folder: Path, *words: str) -> None:
    user = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    subprocess.run(["git", *user, *words], cwd=folder, env=os.environ, check=True, capture_output=True)


def commit(folder: Path) -> None:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "x")


def test_an_experiment_of_the_code_is_read(base: Base, reference: str) -> None:
    result = read_result(base, reference)
    assert result
    assert (result.score, result.test, result.history) == (0.9, {"test_acc": 0.8}, {1: 0.8, 2: 0.9})
    assert list(result.receipts) == ["train", "evaluate"]
    # Its name is not that of other code's run.
    assert read_result(replace(base, code={**CODE, "evaluate": {"src/core": "3.dir"}}), reference) is None


@pytest.mark.parametrize(
    ("path", "old", "new", "said"),
    [
        ("receipts/train.json", '"lr": 0.006', '"lr": 0.5', "is the receipt of another run; lr differs"),
        ("receipts/evaluate.json", "1.dir", "3.dir", "is the receipt of another run; src/core differs"),
        ("receipts/train.json", "[", "", "is not JSON"),
        ("metrics/train.json", "0.9", "NaN", "expected finite numbers in final.val_acc"),
        ("metrics/train.json", "0.9", '"0.9"', "expected finite numbers in final.val_acc"),
        ("metrics/train.json", "val_acc", "acc", "expected finite numbers in final.val_acc"),
    ],
)
def test_an_experiment_that_is_not_what_its_name_says_is_refused(
    base: Base, reference: str, path: str, old: str, new: str, said: str
) -> None:
    text = (base.root / path).read_text()
    assert old in text
    (base.root / path).write_text(text.replace(old, new, 1))
    commit(base.root)
    name = reference.rpartition("/")[2]
    with pytest.raises(UserError, match=rf"{path} of {name}: {said}.*; `dvc exp remove {name}` removes it"):
        read_result(base, reference)


def test_only_experiments_are_taken_for_experiments() -> None:
    real = f"refs/exps/ab/{'0' * 38}/run-1"
    assert by_name(["refs/exps/exec/EXEC_HEAD", "refs/exps/stash", "refs/exps/celery/stash", "refs/heads/x", real]) == {
        "run-1": real
    }
