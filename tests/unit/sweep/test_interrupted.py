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


@pytest.fixture
def lab(reproduced: Project, tmp_path: Path) -> Iterator[Project]:
    """A committed project with a sweep of two runs; no checkpoint is left of how its results were made."""
    project = reproduced.copy(tmp_path / "lab")
    for path in checkpoints(project):
        path.unlink()
    write_spec(project, {"epochs": EPOCHS, "seed": "1,2"})
    project.commit()
    yield project
    project.clean_up()


def checkpoints(project: Project) -> set[Path]:
    return set((project.path / "logs/checkpoints").glob("*.ckpt"))


def trees(project: Project) -> dict[str, str]:
    """Hash of every file of every experiment, by the experiment's name; dvc.lock has the model's."""
    return {name: project.git("ls-tree", "-r", ref) for name, ref in references(project.path).items()}


def kill(what: str, sweep: int, worker: int) -> None:
    """Send SIGKILL to a process group, or to everything, as when a machine loses its power."""
    if what == "machine":
        for process in [psutil.Process(sweep), *psutil.Process(sweep).children(recursive=True)]:
            process.kill()
    else:
        os.killpg(sweep if what == "sweep" else worker, signal.SIGKILL)


@pytest.mark.fault(68)
@pytest.mark.slow
@pytest.mark.parametrize("what", ["sweep", "worker", "machine"])
def test_a_killed_sweep_resumes_its_training_to_the_same_bytes(lab: Project, tmp_path: Path, what: str) -> None:
    whole = lab.copy(tmp_path / "whole")
    sweep_ok(whole, "--workers", "1")
    before = working_tree(lab)

    process = start_sweep(lab, "--workers", "1")
    # The first has ended and the second is under way: nothing of the one is run again, and nothing of the other lost.
    (first,) = wait_for(lambda: references(lab.path), "the first experiment", LONG)
    known = checkpoints(lab)
    wait_for(lambda: checkpoints(lab) - known, "a checkpoint of the second")
    (training,) = processes(lab, "train")
    kill(what, process.pid, next(parent.pid for parent in training.parents() if "dvc" in parent.cmdline()))
    assert process.wait(LONG) == (1 if what == "worker" else -signal.SIGKILL), lab.output()
    wait_for(lambda: not processes(lab, "train") and not processes(lab, "dvc"), "the end of all processes")
    assert working_tree(lab) == before
    kept, finished = references(lab.path), lab.git("for-each-ref", "refs/exps")
    assert list(kept) == [first]

    assert "1 complete, 1 to run" in sweep_ok(lab, "--workers", "1")
    (second,) = references(lab.path).keys() - kept
    assert finished in lab.git("for-each-ref", "refs/exps")
    assert re.search(rf"Resuming after epoch \d+ of {EPOCHS}", (lab.path / f"logs/sweep/{second}.log").read_text())
    assert trees(lab) == trees(whole)
    assert len(checkpoints(lab)) == 2
