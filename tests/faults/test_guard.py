"""Rows 2 to 6 and 15 to 18: nothing false is locked, and nothing runs on unattended."""

import os
import runpy
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil
import pytest

from tests.faults.project import ROOT, Project, is_gone, wait_for

# Long enough not to end before the test has done its worst.
LONG = 500


@pytest.fixture
def training(project: Project) -> Project:
    """A project in which a `dvc repro` would train for long."""
    project.set(epochs=LONG)
    return project


def until_training(project: Project) -> psutil.Process:
    """The process that trains, once its first epoch is done."""
    process = project.running("train")
    wait_for((project.path / "plots/history.csv").exists, "the first epoch")
    return process


@contextmanager
def paused(process: psutil.Process) -> Iterator[None]:
    """Stop a process meanwhile, so that what happens here is sure to happen before it ends."""
    process.suspend()
    try:
        yield
    finally:
        process.resume()


def test_row_2_sigterm_to_the_trainer_locks_nothing(training: Project) -> None:
    lock = training.lock()
    dvc = training.start_repro()
    until_training(training).terminate()
    assert dvc.wait(20) != 0
    assert "exited with 143" in training.output()
    assert training.lock()["train"] == lock["train"]
    assert not (training.path / "metrics/train.json").exists()


def test_row_3_ctrl_c_locks_nothing(training: Project) -> None:
    lock = training.lock()
    dvc = training.start_repro()
    trainer = until_training(training)
    os.killpg(dvc.pid, signal.SIGINT)
    assert dvc.wait(20) != 0
    assert is_gone(trainer)
    assert training.lock()["train"] == lock["train"]


# Some shells replace themselves by the command that DVC gives them, some wait for it.
@pytest.mark.parametrize(
    ("number", "shell"),
    [
        (signal.SIGKILL, "/bin/sh"),
        (signal.SIGTERM, "/bin/bash"),
        pytest.param(signal.SIGKILL, "/bin/bash", marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, "/bin/sh", marks=pytest.mark.slow),
    ],
    ids=["row-4-KILL-sh", "row-5-TERM-bash", "row-4-KILL-bash", "row-5-TERM-sh"],
)
def test_rows_4_5_the_trainer_ends_with_its_dvc(training: Project, number: int, shell: str) -> None:
    dvc = training.start_repro(SHELL=shell)
    trainer = until_training(training)
    dvc.send_signal(number)
    wait_for(lambda: is_gone(trainer), "the end of the trainer", seconds=3)
    dvc.wait(20)


def test_row_4_a_trainer_whose_dvc_is_gone_before_it_looks_ends(project: Project) -> None:
    script = "sleep 0.3; exec python -m stages train"
    # The shell in between is gone at once, so that the trainer is an orphan from the start, in a foreign process group.
    process = project.start(
        sys.executable, "-c", f"import subprocess as s; s.Popen(['sh', '-c', {script!r}])", DVC_STAGE="train"
    )
    process.wait(20)
    wait_for(lambda: "dvc ended before" in project.output(), "the refusal")


def test_row_6_no_trainer_beside_a_living_one(training: Project) -> None:
    by_hand = training.start(sys.executable, "-m", "stages", "train")
    holder = training.path / "logs/train.lock"
    wait_for(lambda: holder.read_text() == str(by_hand.pid), "the trainer to hold its lock")
    lock = training.lock()
    done = training.dvc("repro")
    assert by_hand.poll() is None
    by_hand.kill()
    by_hand.wait(20)
    assert done.returncode != 0
    assert f"process {by_hand.pid} is running this stage here" in done.stderr + done.stdout
    assert training.lock()["train"] == lock["train"]


def edit_params_and_code(project: Project) -> None:
    project.set(lr=0.5)
    edit_code(project)


def edit_code(project: Project) -> None:
    source = project.path / "src/model/network.py"
    source.write_text(source.read_text() + "# edited\n")


def run_experiment(project: Project) -> None:
    assert project.dvc("exp", "run", "--set-param", "lr=0.5").returncode != 0


@pytest.mark.parametrize(
    ("act", "named"),
    [(edit_params_and_code, "params.yaml: lr, src/model/network.py"), (run_experiment, "params.yaml: lr")],
    ids=["rows-15-16-params-and-code", "row-17-experiment"],
)
def test_rows_15_to_17_drift_voids_the_run(project: Project, act: Callable[[Project], None], named: str) -> None:
    project.set(epochs=6)
    lock = project.lock()
    dvc = project.start_repro()
    with paused(until_training(project)):
        act(project)
    assert dvc.wait(120) != 0
    assert f"train: {named} changed during the run" in project.output()
    assert project.lock()["train"] == lock["train"]


def test_row_18_of_two_repros_at_once_one_wins(project: Project) -> None:
    project.set(epochs=3)
    first = project.start_repro()
    with paused(project.running("train")):
        second = project.dvc("repro")
    assert first.wait(120) == 0, project.output()
    assert second.returncode != 0
    assert project.lock()["train"]["params"]["params.yaml"]["epochs"] == 3
    assert "up to date" in project.dvc("status").stdout


@pytest.mark.slow
def test_code_edited_while_torch_is_imported_voids_the_run(project: Project) -> None:
    project.set(epochs=1)
    dvc = project.start_repro()
    trainer = project.running("train")
    wait_for(lambda: any("torch" in file.path for file in trainer.memory_maps()), "the import of torch")
    edit_code(project)
    assert dvc.wait(60) != 0
    assert "src/model/network.py changed during the run" in project.output()


def test_an_unknown_stage_is_named(project: Project) -> None:
    done = project.stage("trian")
    assert done.returncode == 1
    assert "expected one of the stages check, fetch, train, evaluate, got 'trian'" in done.stderr


@pytest.mark.parametrize("stage", ["check", "fetch", "train", "evaluate"])
def test_a_stage_without_its_guard_is_refused(stage: str) -> None:
    with pytest.raises(SystemExit, match=f"its guarded command is `python -m stages {stage}`"):
        runpy.run_path(f"{ROOT}/stages/{stage}.py", run_name="__main__")
