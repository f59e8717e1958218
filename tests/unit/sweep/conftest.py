import json
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from src.mnist.model.params import Params
from src.sweep.records import EVAL, SCORE, TEST_SCORE, TRAIN, Result, Run
from tests.faults.project import Project, shared

GIT_USER = {f"GIT_{role}_{kind}": "t@example.org" for role in ("AUTHOR", "COMMITTER") for kind in ("NAME", "EMAIL")}


def make_lab(reproduced: Project, folder: Path) -> Project:
    """A committed project whose stages train and evaluate take no time; see toy_stage.py."""
    project = reproduced.copy(folder)
    for stage in ("train", "evaluate"):
        shutil.copy(Path(__file__).parent / "toy_stage.py", project.path / f"stages/{stage}.py")
    project.commit()
    return project


@pytest.fixture
def lab(reproduced: Project, tmp_path: Path) -> Iterator[Project]:
    project = make_lab(reproduced, tmp_path / "lab")
    yield project
    project.clean_up()


@dataclass(frozen=True)
class Swept:
    """A project after its first sweep, of three runs, the first of which fails; changed by no test.

    Attributes:
        project: The project.
        printed: What the sweep printed.
        before: The working tree before it.
        after: The working tree after it.
    """

    project: Project
    printed: str
    before: str
    after: str

    def copy(self, folder: Path) -> Project:
        """For one test."""
        return self.project.copy(folder)


@pytest.fixture(scope="session")
def swept(reproduced: Project, tmp_path_factory: pytest.TempPathFactory) -> Swept:
    def build(path: Path) -> None:
        project = make_lab(reproduced, path)
        # One of them is what params.yaml says.
        write_spec(project, {"lr": "13.0,0.005,0.006"})
        assert project.read_yaml("params.yaml")["lr"] == 0.005
        (path / "docs.txt").write_text("not committed, and none of the code")
        before = working_tree(project)
        done = project.run(sys.executable, "-m", "src.sweep", "--workers", "2")
        assert done.returncode == 1, done.stderr
        story = {"printed": done.stdout, "before": before, "after": working_tree(project)}
        path.with_name("story.json").write_text(json.dumps(story))

    project = shared(tmp_path_factory, "swept", build)
    return Swept(project, **json.loads(project.path.with_name("story.json").read_text()))


def write_spec(project: Project, params: Mapping[str, object]) -> None:
    (project.path / "sweep.yaml").write_text(json.dumps({"params": params}))


def working_tree(project: Project) -> str:
    """What a user sees of it."""
    changed = project.git("status", "--porcelain", "--", ".", ":!logs.txt")
    return f"{changed}{project.git('symbolic-ref', 'HEAD')}{project.git('stash', 'list')}"


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
