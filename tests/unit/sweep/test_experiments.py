import json
from dataclasses import replace
from pathlib import Path

import pytest

from src.core.errors import UserError
from src.mnist.model.params import Params
from src.sweep.experiments import NAME, Base, by_name, read_all, read_base, read_result, references
from tests.conftest import REPOSITORY
from tests.faults.project import Project
from tests.unit.sweep.conftest import forge

CODE = {"train": {"src/core": "1.dir", "src/mnist/train": "2.dir"}, "evaluate": {"src/core": "1.dir"}}


def test_name_depends_only_on_params_and_code(params: Params) -> None:
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


def test_code_includes_the_dependencies_of_the_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    base = read_base()
    assert set(base.receipts) == {"fetch", "train", "evaluate"}
    assert "requirements.lock" in base.code["check"]
    rooms = {"src/core", "src/mnist/data", "src/mnist/model", "src/mnist/train"}
    assert set(base.code["train"]) >= {"stages/train.py", *rooms}
    assert base.params["lr"]


def test_experiment_is_read_only_for_its_code(in_copy: Project) -> None:
    base = read_base()
    # As for DVC, another version of a package makes another run.
    in_copy.edit("requirements.lock", "torch==", "torch==9.")
    in_copy.commit()
    assert read_base().name(base.params) != base.name(base.params)
    found = [read_result(base, reference) for reference in references(in_copy.path).values()]
    assert {(one.score, one.test["test_acc"], one.history[2], *one.receipts) for one in found if one} == {
        (score, 0.9, score, "fetch", "train", "evaluate") for score in (0.9, 0.901)
    }
    # Different code makes none of them.
    other = replace(base, code={**base.code, "evaluate": {"src/core": "3.dir"}})
    assert not any(read_result(other, reference) for reference in references(in_copy.path).values())


@pytest.mark.parametrize(
    ("path", "old", "new", "said"),
    [
        ("receipts/train.json", '"lr": 0.00', '"lr": 0.50', "is the receipt of another run; lr differs"),
        (
            "receipts/evaluate.json",
            '"src/core": "',
            '"src/core": "x',
            "is the receipt of another run; src/core differs",
        ),
        ("receipts/train.json", "[", "", "is not JSON"),
        ("metrics/train.json", '"val_acc": ', '"val_acc": NaN, "x": ', "final.val_acc: "),
        ("metrics/train.json", '"val_acc": ', '"val_acc": "0.9", "x": ', "final.val_acc: "),
        ("metrics/train.json", "val_acc", "acc", "final.val_acc: "),
    ],
)
def test_forged_experiment_is_rejected(in_copy: Project, path: str, old: str, new: str, said: str) -> None:
    base = read_base()
    reference = forge(in_copy, path, old, new)
    name = reference.rpartition("/")[2]
    with pytest.raises(UserError, match=rf"{path} of {name}: {said}.*; `dvc exp remove {name}` removes it"):
        read_result(base, reference)
    results, problems = read_all(base)
    assert (len(results), len(problems)) == (1, 1)


def test_other_references_of_dvc_are_ignored() -> None:
    real = f"refs/exps/ab/{'0' * 38}/run-1"
    assert by_name(["refs/exps/exec/EXEC_HEAD", "refs/exps/stash", "refs/exps/celery/stash", "refs/heads/x", real]) == {
        "run-1": real
    }
