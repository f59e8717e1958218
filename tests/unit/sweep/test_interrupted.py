"""A sweep that trains for real and is killed: what it had finished stays, and what it was at goes on."""

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from src.sweep.experiments import references
from tests.faults.project import Project, wait_for
from tests.unit.sweep.conftest import LONG, processes, start_sweep, sweep_ok, working_tree, write_spec

EPOCHS = 20


@pytest.fixture(scope="module")
def fresh(reproduced: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A committed project with a sweep of two runs; no checkpoint is left of how its results were made."""
    project = reproduced.copy(tmp_path_factory.mktemp("fresh") / "lab")
    for path in checkpoints(project):
        path.unlink()
    write_spec(project, {"epochs": EPOCHS, "seed": "1,2"})
    project.commit()
    return project


@pytest.fixture(scope="module")
def whole(fresh: Project, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a sweep that nobody kills leaves."""
    project = fresh.copy(tmp_path_factory.mktemp("whole") / "lab")
    sweep_ok(project, "--workers", "1")
    return trees(project)


@pytest.fixture
def lab(fresh: Project, tmp_path: Path) -> Iterator[Project]:
    project = fresh.copy(tmp_path / "lab")
    yield project
    project.clean_up()


def checkpoints(project: Project) -> set[Path]:
    return set((project.path / "logs/checkpoints").glob("*.ckpt"))


def trees(project: Project) -> dict[str, str]:
    """Hash of every file of every experiment, by the experiment's name; dvc.lock has the model's."""
    return {name: project.git("ls-tree", "-r", ref) for name, ref in references(project.path).items()}


@pytest.mark.fault(67, 68)
@pytest.mark.slow
@pytest.mark.parametrize("what", ["sweep", "training", "machine"])
def test_a_killed_sweep_resumes_its_training_to_the_same_bytes(lab: Project, whole: dict[str, str], what: str) -> None:
    before = working_tree(lab)
    process = start_sweep(lab, "--workers", "1")
    # The first has ended and the second is under way: nothing of the one is run again, and nothing of the other lost.
    (first,) = wait_for(lambda: references(lab.path), "the first experiment", LONG)
    known = checkpoints(lab)
    wait_for(lambda: checkpoints(lab) - known, "a checkpoint of the second")
    if what == "machine":
        for one in [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]:
            one.kill()
    else:
        (training,) = processes(lab, "train")
        os.killpg(process.pid if what == "sweep" else os.getpgid(training.pid), signal.SIGKILL)
    assert process.wait(LONG) == (1 if what == "training" else -signal.SIGKILL), lab.output()
    wait_for(lambda: not processes(lab, "train") and not processes(lab, "dvc"), "the end of all processes")
    assert working_tree(lab) == before
    finished = lab.git("for-each-ref", "refs/exps")
    assert finished.count(first) == finished.count("\n") == 1

    assert "1 complete, 1 to run" in sweep_ok(lab, "--workers", "1")
    assert finished in lab.git("for-each-ref", "refs/exps")
    (second,) = references(lab.path).keys() - {first}
    assert re.search(rf"Resuming after epoch \d+ of {EPOCHS}", (lab.path / f"logs/sweep/{second}.log").read_text())
    assert trees(lab) == whole
    assert len(checkpoints(lab)) == 2
