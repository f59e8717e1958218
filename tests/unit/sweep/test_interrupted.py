"""A sweep that trains for real and is killed: what it had finished stays, and what it was at goes on."""

import os
import re
import signal
from pathlib import Path

import psutil
import pytest

from src.sweep.experiments import references
from tests.faults.project import Project, wait_for
from tests.unit.sweep.conftest import LONG, processes, start_sweep, sweep_ok, working_tree, write_spec

EPOCHS = 20


def checkpoints(project: Project) -> dict[Path, int]:
    """When each was written."""
    return {path: path.stat().st_mtime_ns for path in (project.path / "logs/checkpoints").glob("*.ckpt")}


def wait_for_checkpoint(project: Project) -> None:
    known = checkpoints(project)
    wait_for(lambda: checkpoints(project).items() - known.items(), "a checkpoint")


def trees(project: Project) -> dict[str, str]:
    """Hash of every file of every experiment, by the experiment's name; dvc.lock has the model's."""
    return {name: project.git("ls-tree", "-r", ref) for name, ref in references(project.path).items()}


@pytest.mark.fault(67, 68)
@pytest.mark.slow
def test_a_sweep_that_is_killed_again_and_again_ends_with_the_same_bytes(project: Project, tmp_path: Path) -> None:
    # None is left of how the committed results were made.
    for path in checkpoints(project):
        path.unlink()
    write_spec(project, {"epochs": EPOCHS, "seed": "1,2"})
    project.commit()
    whole = project.copy(tmp_path / "whole")
    sweep_ok(whole, "--workers", "1")
    before = working_tree(project)
    for what in ("sweep", "training", "machine"):
        process = start_sweep(project, "--workers", "1")
        # The first has ended and the second is under way: nothing of that is run again, and nothing of this lost.
        (first,) = wait_for(lambda: references(project.path), "the first experiment", LONG)
        finished = project.git("for-each-ref", "refs/exps")
        wait_for_checkpoint(project)
        if what == "machine":
            for one in [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]:
                one.kill()
        else:
            (training,) = processes(project, "train")
            os.killpg(process.pid if what == "sweep" else os.getpgid(training.pid), signal.SIGKILL)
        assert process.wait(LONG) == (1 if what == "training" else -signal.SIGKILL), project.output()
        wait_for(lambda: not processes(project, "train") and not processes(project, "dvc"), "the end of all processes")
        assert working_tree(project) == before
        assert project.git("for-each-ref", "refs/exps") == finished
        assert finished.count(first) == finished.count("\n") == 1
    assert "1 complete, 1 to run" in sweep_ok(project, "--workers", "1")
    assert finished in project.git("for-each-ref", "refs/exps")
    (second,) = references(project.path).keys() - {first}
    assert re.search(rf"Resuming after epoch \d+ of {EPOCHS}", (project.path / f"logs/sweep/{second}.log").read_text())
    assert trees(project) == trees(whole)
    assert len(checkpoints(project)) == 2
