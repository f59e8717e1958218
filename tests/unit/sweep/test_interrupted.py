"""A real sweep is killed: finished experiments are kept, and the interrupted one resumes."""

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
    """Modification time of each checkpoint."""
    return {path: path.stat().st_mtime_ns for path in (project.path / "logs/checkpoints").glob("*.ckpt")}


def wait_for_checkpoint(project: Project) -> None:
    known = checkpoints(project)
    wait_for(lambda: checkpoints(project).items() - known.items(), "a checkpoint")


def trees(project: Project) -> dict[str, str]:
    """Hashes of all files of every experiment, by name; dvc.lock contains the model's."""
    return {name: project.git("ls-tree", "-r", ref) for name, ref in references(project.path).items()}


@pytest.mark.fault(67, 68)
@pytest.mark.slow
def test_repeatedly_killed_sweep_gives_the_same_bytes(project: Project, tmp_path: Path) -> None:
    # Remove the checkpoints of the committed results.
    for path in checkpoints(project):
        path.unlink()
    write_spec(project, {"epochs": EPOCHS, "seed": "1,2"})
    project.commit()
    whole = project.copy(tmp_path / "whole")
    sweep_ok(whole, "--workers", "1")
    before = working_tree(project)
    for what in ("sweep", "training", "machine"):
        process = start_sweep(project, "--workers", "1")
        # The first trial has ended and must not be rerun; the second is running and must not lose its epochs.
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
