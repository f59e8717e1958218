import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from src.mnist.model.params import Params
from src.revision.receipts import Receipt
from src.sweep.experiments import EVAL, SCORE, TEST_SCORE, TRAIN, Result, Run, references
from tests.faults.project import Project, shared

GIT_USER = {f"GIT_{role}_{kind}": "t@example.org" for role in ("AUTHOR", "COMMITTER") for kind in ("NAME", "EMAIL")}

# Seconds in which a trial begins or ends, on a machine that has much else to do.
LONG = 300.0


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


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/study.db"


@dataclass(frozen=True)
class Swept:
    """A project after its first sweep, of three trials, the first of which fails; changed by no test.

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
        done = sweep(project, "--workers", "2")
        assert done.returncode == 1, done.stderr
        story = {"printed": done.stdout, "before": before, "after": working_tree(project)}
        path.with_name("story.json").write_text(json.dumps(story))

    project = shared(tmp_path_factory, "swept", build)
    return Swept(project, **json.loads(project.path.with_name("story.json").read_text()))


def write_spec(project: Project, params: Mapping[str, object], **others: object) -> None:
    (project.path / "sweep.yaml").write_text(json.dumps({"params": params, **others}))


def working_tree(project: Project) -> str:
    """What a user sees of it."""
    changed = project.git("status", "--porcelain", "--", ".", ":!logs.txt")
    return f"{changed}{project.git('symbolic-ref', 'HEAD')}{project.git('stash', 'list')}"


def sweep(project: Project, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return project.run(sys.executable, "-m", "src.sweep", *arguments, **env)


def sweep_ok(project: Project, *arguments: str, **env: str) -> str:
    done = sweep(project, *arguments, **env)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def start_sweep(project: Project, *arguments: str, **env: str) -> subprocess.Popen[str]:
    return project.start(sys.executable, "-m", "src.sweep", *arguments, **env)


def clone(project: Project, remote: Path, folder: Path) -> Project:
    """A clone with its own name for DVC's one cache."""
    subprocess.run(["git", "clone", "--quiet", str(remote), str(folder)], check=True)
    other = Project(folder)
    other.env = {**project.env, "DVC_SITE_CACHE_DIR": str(folder.parent / f"site-{folder.name}")}
    (folder / ".dvc/config.local").write_text(f"[cache]\n    dir = {project.path / '.dvc/cache'}\n")
    return other


def make_remote(lab: Project, tmp_path: Path) -> Path:
    lab.commit()
    lab.git("clone", "--quiet", "--bare", ".", str(tmp_path / "remote.git"))
    lab.git("remote", "add", "origin", str(tmp_path / "remote.git"))
    return tmp_path / "remote.git"


def learning_rates(project: Project) -> list[float]:
    """Of every experiment, from its commit."""
    shown = [project.git("show", f"{ref}:params.yaml") for ref in references(project.path).values()]
    return sorted(float(found[1]) for text in shown if (found := re.search(r"^lr: (\S+)", text, re.MULTILINE)))


def count(file: Path) -> int:
    """How many trainings have begun, as TOY_COUNT counts them."""
    return file.read_text().count("\n") if file.exists() else 0


def processes(project: Project, word: str) -> list[psutil.Process]:
    """Processes below the project's folder whose command has this word."""
    found = []
    for process in psutil.process_iter():
        try:
            if word in process.cmdline() and Path(process.cwd()).is_relative_to(project.path):
                found.append(process)
        except psutil.Error:
            continue
    return found


def made_up(params: Params, val_acc: float, test_acc: float = 0.5, device: str = "cpu", **changes: object) -> Result:
    """A result that nobody computed."""
    changed = params.model_copy(update=changes)
    receipt = Receipt(
        stage="train",
        deps={},
        params={},
        outs={"data/MNIST": "abc.dir"},
        versions={"torch": "2.15.0"},
        machine={"device": device},
    )
    return Result(
        Run(f"run-{changed!r}", changed.model_dump()),
        "0" * 40,
        {TRAIN: {SCORE: val_acc}, EVAL: {TEST_SCORE: test_acc}},
        {"fetch": receipt, "train": receipt, "evaluate": receipt},
    )
