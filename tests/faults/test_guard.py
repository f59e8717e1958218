"""No false result is locked, and no process outlives its dvc."""

import io
import os
import re
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TextIO

import psutil
import pytest

from src.core.errors import UserError
from src.core.run import ReceiptFields, Run
from tests.faults.project import Project, dvc_main, is_gone, refusal, wait_for

# What stands for a training: a toy that is held, or a real one that does not end before the test has done its worst.
TRAININGS = ["held", pytest.param("training", marks=pytest.mark.slow)]
# The other stages are skipped to save time.
ALONE = ("--single-item", "train")


@pytest.fixture
def training(project: Project) -> Project:
    """A project in which a `dvc repro` would train for a long time."""
    project.set(epochs=500)
    return project


@pytest.fixture
def held(toy: Project) -> Project:
    """A toy project in which a `dvc repro` stays in the train stage until it is released."""
    toy.set(epochs=5)
    toy.hold("train")
    return toy


def until_training(project: Project) -> psutil.Process:
    """The training process, once it has written something."""
    process = project.running("train")
    wait_for((project.path / "plots/history.csv").exists, "the first output")
    return process


# A shell that waits for its command reports SIGKILL as 137; a shell that became the command, as -9.
@pytest.mark.fault(1, 2, 3)
@pytest.mark.parametrize("kind", TRAININGS)
@pytest.mark.parametrize(
    ("number", "codes"), [(signal.SIGTERM, "143"), (signal.SIGINT, ""), (signal.SIGKILL, "137|-9")]
)
def test_signalled_training_is_not_locked(request: pytest.FixtureRequest, kind: str, number: int, codes: str) -> None:
    project: Project = request.getfixturevalue(kind)
    lock = project.lock()
    dvc = project.start_repro(*ALONE)
    trainer = until_training(project)
    if number == signal.SIGINT:
        # From the terminal, to all.
        os.killpg(dvc.pid, number)
    else:
        trainer.send_signal(number)
    assert dvc.wait(20) != 0
    assert is_gone(trainer)
    assert number == signal.SIGINT or re.search(f"exited with ({codes})$", project.output(), re.MULTILINE)
    assert project.lock()["train"] == lock["train"]
    assert kind == "held" or not (project.path / "metrics/train.json").exists()


def leave() -> None:
    """Exit as Lightning does after handling a signal."""
    sys.exit(0)


def leave_with_a_reason() -> None:
    sys.exit("row 7 is bad")


def swallow() -> None:
    with suppress(SystemExit):
        os.kill(os.getpid(), signal.SIGTERM)


def swallow_and_fail() -> None:
    swallow()
    raise KeyError("x")


class Interrupted(io.StringIO):
    """Standard error, on which a signal interrupts the first line."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self.stream = stream

    def write(self, text: str) -> int:
        sys.stderr = self.stream
        os.kill(os.getpid(), signal.SIGTERM)
        return len(text)


def be_interrupted(error: BaseException) -> None:
    sys.stderr = Interrupted(sys.stderr)
    raise error


@pytest.mark.fault(2)
@pytest.mark.parametrize(
    ("end", "code"),
    [
        (leave, 1),
        (leave_with_a_reason, 1),
        (swallow, 143),
        (swallow_and_fail, 143),
        (partial(be_interrupted, UserError("a bad row")), 143),
        (partial(be_interrupted, SystemExit("a bad row")), 143),
    ],
)
def test_interrupted_stage_never_succeeds(toy: Project, end: Callable[[], None], code: int) -> None:
    def main(_: Run) -> ReceiptFields:
        end()
        return ReceiptFields()

    done = toy.here("check", main)
    assert done.returncode == code
    said = "row 7 is bad" if end is leave_with_a_reason else "stopped before it finished"
    assert end is swallow or done.stderr == f"check: {said}\n"


# Some shells replace themselves with DVC's command, others wait for it.
@pytest.mark.fault(4, 5)
@pytest.mark.parametrize("kind", TRAININGS)
@pytest.mark.parametrize(("number", "shell"), [(signal.SIGKILL, "/bin/sh"), (signal.SIGTERM, "/bin/bash")])
def test_training_ends_with_its_dvc(request: pytest.FixtureRequest, kind: str, number: int, shell: str) -> None:
    project: Project = request.getfixturevalue(kind)
    dvc = project.start_repro(*ALONE, SHELL=shell)
    trainer = until_training(project)
    dvc.send_signal(number)
    wait_for(lambda: is_gone(trainer), "the end of the trainer", seconds=3)
    dvc.wait(20)


@pytest.mark.fault(4)
def test_training_ends_if_its_dvc_is_already_gone(toy: Project) -> None:
    script = "sleep 0.3; exec python -m stages train"
    # The shell in between is gone at once, so that the trainer is an orphan from the start, in a foreign process group.
    process = toy.start(
        sys.executable, "-c", f"import subprocess as s; s.Popen(['sh', '-c', {script!r}])", DVC_STAGE="train"
    )
    process.wait(20)
    wait_for(lambda: "dvc ended before" in toy.output(), "the refusal")


def repro_ignoring_children(stage: str) -> int:
    """A parent that ignores SIGCHLD: the system keeps no exit codes, so every stage seems to succeed."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    return dvc_main(("repro", "--force", "--single-item", stage))


def bad_params(project: Project) -> str:
    project.set(epochs="abc")
    return "check"


def bad_stage(project: Project) -> str:
    project.append("stages/train.py", '\n\ndef main(run: Run) -> ReceiptFields:\n    raise SystemExit("no")\n')
    return "train"


def drift(project: Project) -> str:
    project.edit("stages/train.py", "    while HOLD", '    Path("src/core/errors.py").touch()\n    while HOLD')
    return "train"


def late_drift(project: Project) -> str:
    """Edit an input between writing the receipt and the last check."""
    last = "        inputs.check()\n    except"
    project.edit("src/guard/guard.py", last, f'        Path("src/core/errors.py").touch()\n{last}')
    return "fetch"


def late_drift_of_a_stage_without_receipt(project: Project) -> str:
    late_drift(project)
    return "check"


@pytest.mark.fault(91)
@pytest.mark.parametrize(
    "fault",
    [
        bad_params,
        late_drift_of_a_stage_without_receipt,
        *(pytest.param(fault, marks=pytest.mark.slow) for fault in (late_drift, bad_stage, drift)),
    ],
)
def test_failed_stage_is_not_locked_if_the_parent_ignores_sigchld(
    toy: Project, fault: Callable[[Project], str]
) -> None:
    stage, lock = fault(toy), toy.lock()
    done = toy.run_forked(lambda: repro_ignoring_children(stage), {})
    assert done.returncode != 0
    assert "does not exist" in done.stderr
    assert toy.lock()[stage] == lock[stage]


@pytest.mark.fault(6)
def test_second_training_is_rejected(held: Project) -> None:
    held.edit("src/guard/guard.py", "LOCK_SECONDS = 5.0", "LOCK_SECONDS = 0.5")
    by_hand = held.start(sys.executable, "-m", "stages", "train")
    holder = held.path / "logs/train.lock"
    wait_for(lambda: holder.read_text() == str(by_hand.pid), "the trainer to hold its lock")
    lock = held.lock()
    done = held.dvc("repro", *ALONE)
    assert by_hand.poll() is None
    assert done.returncode != 0
    assert f"process {by_hand.pid} is running this stage here" in done.stderr + done.stdout
    assert held.lock()["train"] == lock["train"]


def edit_params_and_code(project: Project) -> None:
    project.set(lr=0.5)
    project.append("src/mnist/model/network.py", "# edited\n")


def run_experiment(project: Project) -> None:
    assert project.dvc("exp", "run", "--set-param", "lr=0.5").returncode != 0


@pytest.mark.parametrize("kind", TRAININGS)
@pytest.mark.parametrize(
    ("act", "named"),
    [
        pytest.param(
            edit_params_and_code,
            "src/mnist/model/network.py, params.yaml: lr",
            id="params-and-code",
            marks=pytest.mark.fault(15, 16),
        ),
        pytest.param(run_experiment, "params.yaml: lr", id="experiment", marks=pytest.mark.fault(17)),
    ],
)
def test_input_drift_voids_the_run(
    request: pytest.FixtureRequest, kind: str, act: Callable[[Project], None], named: str
) -> None:
    project: Project = request.getfixturevalue(kind)
    lock = project.lock()
    dvc = project.start_repro(*ALONE)
    trainer = until_training(project)
    # It stands still meanwhile, so that what happens here is sure to happen before it ends.
    trainer.suspend()
    act(project)
    trainer.resume()
    if kind == "held":
        project.release("train")
    assert dvc.wait(120) != 0
    assert f"train: {named}: touched during the run" in project.output()
    assert project.lock()["train"] == lock["train"]


@pytest.mark.fault(18)
def test_one_of_two_concurrent_repros_wins(held: Project) -> None:
    first = held.start_repro(*ALONE)
    until_training(held)
    second = held.dvc("repro", *ALONE)
    held.release("train")
    assert first.wait(60) == 0, held.output()
    assert second.returncode != 0
    assert held.lock()["train"]["params"]["params.yaml"]["epochs"] == 5
    assert "up to date" in held.dvc("status", "train").stdout


@pytest.mark.fault(16)
@pytest.mark.slow
def test_edit_during_imports_voids_the_run(project: Project) -> None:
    project.set(epochs=1)
    dvc = project.start_repro()
    trainer = project.running("train")
    wait_for(lambda: any("torch" in file.path for file in trainer.memory_maps()), "the import of torch")
    edit_params_and_code(project)
    assert dvc.wait(60) != 0
    assert "src/mnist/model/network.py, params.yaml: lr: touched during the run" in project.output()


def test_unknown_stage_is_rejected(toy: Project) -> None:
    assert "expected one of the stages check, fetch, train, evaluate, got 'trian'" in refusal(toy.here("trian"))
