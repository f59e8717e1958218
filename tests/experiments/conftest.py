import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from src.experiments.records import EVAL, SCORE, TEST_SCORE, TRAIN, Result, Run
from src.model.params import Params
from tests.faults.project import Project

GIT_USER = {f"GIT_{role}_{kind}": "t@example.org" for role in ("AUTHOR", "COMMITTER") for kind in ("NAME", "EMAIL")}


@pytest.fixture
def lab(reproduced: Project, tmp_path: Path) -> Iterator[Project]:
    """A committed project whose stages train and evaluate take no time; see toy_stage.py."""
    project = reproduced.copy(tmp_path / "lab")
    for stage in ("train", "evaluate"):
        shutil.copy(Path(__file__).parent / "toy_stage.py", project.path / f"stages/{stage}.py")
    project.commit()
    yield project
    project.clean_up()


def made_up(params: Params, val_acc: float, test_acc: float = 0.5, device: str = "cpu", **changes: object) -> Result:
    """A result that nobody computed."""
    changed = params.model_copy(update=changes)
    receipt = {"versions": {"torch": "2.15.0"}, "machine": {"device": device}, "deps": {"data/MNIST": "abc.dir"}}
    return Result(
        Run(f"run-{changed!r}", changed),
        "0" * 40,
        {TRAIN: {SCORE: val_acc}, EVAL: {TEST_SCORE: test_acc}},
        {"train": receipt, "evaluate": receipt},
    )
