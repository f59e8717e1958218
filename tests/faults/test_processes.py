"""A stage run by several processes is still a single run."""

import inspect
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from src.guard import guard
from tests.faults.project import Project, is_gone, refusal, run_stage, shared, wait_for
from tests.faults.test_resume import forget

SHARDS = 2
# More than a training does until it is struck after the first.
EPOCHS = 40
# The only difference between runs of one and of several processes is their number in the receipt.
RECEIPT = "receipts/train.json"
RESULTS = ("models/model.safetensors", "metrics/train.json", "plots/history.csv")
KILLED = "train: process 1 of 2 was killed by SIGKILL, so all end; the next run resumes after the last epoch\n"
RANKS = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "MASTER_PORT": "1"}


@pytest.fixture(autouse=True)
def _known_files() -> None:
    # torch's launcher often asks for the stack. For each file in it that is no module, inspect looks at all modules.
    for frame in inspect.stack():
        inspect.modulesbyfile.setdefault(frame.filename, "__main__")


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory, reproduced: Project) -> Project:
    """A project trained with shards by one process; tests must not change it."""

    def build(path: Path) -> None:
        project = reproduced.copy(path)
        project.set(shards=SHARDS)
        project.make()
        project.commit()

    return shared(tmp_path_factory, "sharded", build)


@pytest.fixture
def untrained(sharded: Project, tmp_path: Path) -> Iterator[Project]:
    """A copy of it that trains again from the start."""
    project = sharded.copy(tmp_path / "untrained")
    forget(project)
    yield project
    project.clean_up()


@pytest.fixture
def held(toy: Project) -> Project:
    """A toy project whose train stage does not end."""
    toy.set(shards=SHARDS)
    toy.hold("train")
    return toy


@pytest.fixture
def training(untrained: Project) -> Project:
    """A project that would train for a long time."""
    untrained.set(epochs=1000)
    return untrained


def processes_of(launcher: int) -> list[psutil.Process]:
    """The two processes of the launcher, by rank."""

    def found() -> list[psutil.Process] | None:
        by_rank = {}
        for child in psutil.Process(launcher).children():
            # It may not be the stage yet, or one of torch's questions to the system, which has ended.
            with suppress(psutil.NoSuchProcess, KeyError):
                by_rank[int(child.environ()["RANK"])] = child
        return [by_rank[0], by_rank[1]] if len(by_rank) == 2 else None

    return wait_for(found, "both processes")


def are_held(project: Project, processes: list[psutil.Process]) -> bool:
    """Whether all processes of a toy stage are waiting."""
    return all((project.path / f"logs/train.held-by-{process.pid}").exists() for process in processes)


def start_two(project: Project) -> tuple[psutil.Process, list[psutil.Process]]:
    """Start the train stage in two processes; returns the launcher, and both processes once they are working."""
    history = project.path / "plots/history.csv"
    history.unlink()
    launcher = project.start_stage("train", PL_TRAINER_DEVICES="2")
    processes = processes_of(launcher.pid)
    wait_for(history.exists, "the first epoch")
    first = history.stat().st_ino
    # The second epoch starts when both have finished the first; a toy stage reports that it is waiting.
    wait_for(lambda: history.stat().st_ino != first or are_held(project, processes), "the second process")
    return launcher, processes


def strike(project: Project, number: int) -> None:
    """Send a signal to the second process of the stage after the first epoch."""
    # Written after the history, and before the next epoch.
    wait_for(lambda: list((project.path / "logs/checkpoints").glob("*.ckpt")), "the first epoch's checkpoint")
    processes_of(os.getpid())[1].send_signal(number)


@pytest.mark.fault(71)
@pytest.mark.slow
def test_two_processes_give_the_same_bytes_as_one(
    untrained: Project, sharded: Project, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(untrained.path)
    monkeypatch.setenv("PL_TRAINER_DEVICES", "2")
    for name in RESULTS:
        (untrained.path / name).unlink()
    assert run_stage("train") == 0
    assert untrained.results() == sharded.results()
    assert '"processes": 2' in (untrained.path / RECEIPT).read_text()
    assert '"processes"' not in (sharded.path / RECEIPT).read_text()
    said = capfd.readouterr()
    assert said.out.count("validation") == 1
    assert said.err == ""


@pytest.mark.fault(72)
@pytest.mark.slow
def test_killed_process_ends_all_and_the_next_run_resumes(
    untrained: Project, sharded: Project, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(untrained.path)
    untrained.set(epochs=EPOCHS)
    with monkeypatch.context() as patch:
        patch.setenv("PL_TRAINER_DEVICES", "2")
        killer = threading.Thread(target=strike, args=(untrained, signal.SIGKILL))
        killer.start()
        assert run_stage("train") == 1
        killer.join()
    assert capfd.readouterr().err == KILLED
    assert run_stage("train") == 0
    assert "Resuming after epoch" in capfd.readouterr().out
    whole = sharded.copy(untrained.path.parent / "whole")
    forget(whole)
    whole.set(epochs=EPOCHS)
    monkeypatch.chdir(whole.path)
    assert run_stage("train") == 0
    for name in RESULTS:
        assert (untrained.path / name).read_bytes() == (whole.path / name).read_bytes()


@pytest.mark.fault(72)
def test_all_processes_end_if_one_is_killed(held: Project) -> None:
    launcher, (first, second) = start_two(held)
    second.kill()
    assert launcher.wait(20) == 1
    assert held.output() == KILLED
    wait_for(lambda: is_gone(first), "the end of the first process")


@pytest.mark.fault(72)
@pytest.mark.parametrize("kind", ["held", pytest.param("training", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "number",
    [signal.SIGTERM, *(pytest.param(number, marks=pytest.mark.slow) for number in (signal.SIGKILL, signal.SIGINT))],
)
def test_all_processes_end_with_their_launcher(request: pytest.FixtureRequest, kind: str, number: int) -> None:
    project: Project = request.getfixturevalue(kind)
    launcher, processes = start_two(project)
    launcher.send_signal(number)
    assert launcher.wait(20) == (-number if number == signal.SIGKILL else 128 + number)
    wait_for(lambda: all(map(is_gone, processes)), "the end of both", seconds=5)
    if number != signal.SIGKILL:
        assert project.output().splitlines()[-1] == "train: stopped before it finished"
        assert kind == "training" or project.output().count("\n") == 1


@pytest.mark.fault(72)
@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_all_processes_end_with_their_dvc(held: Project, number: int) -> None:
    dvc = held.start_repro("--single-item", "train", PL_TRAINER_DEVICES="2")
    # The first process has the lock.
    launcher = held.running("train").parent()
    assert launcher
    processes = processes_of(launcher.pid)
    wait_for(lambda: are_held(held, processes), "both processes")
    dvc.send_signal(number)
    wait_for(lambda: all(map(is_gone, [launcher, *processes])), "the end of all", seconds=10)


@pytest.mark.fault(72)
def test_error_of_one_process_is_one_line(held: Project) -> None:
    failure = "if os.environ['RANK'] == '1': raise UserError('epoch 2: loss is nan; lower lr')"
    assert code_of_failing(held, failure) == 1
    assert held.output() == "train: epoch 2: loss is nan; lower lr\n"


@pytest.mark.fault(72)
def test_unexpected_error_of_a_process_keeps_its_traceback(held: Project) -> None:
    assert code_of_failing(held, "if os.environ['RANK'] == '1': raise KeyError('width')") == 1
    assert held.output().startswith("Traceback (most recent call last):\n")
    assert held.output().endswith("\nKeyError: 'width'\n")


def code_of_failing(project: Project, failure: str) -> int:
    """Exit code of a toy stage with two processes that fails."""
    project.edit("stages/train.py", "import json\n", "import json\nfrom src.core.errors import UserError\n")
    project.edit("stages/train.py", "    if HOLD.exists():", f"    {failure}\n    if HOLD.exists():")
    return project.start_stage("train", PL_TRAINER_DEVICES="2").wait(20)


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        pytest.param(
            {"TORCHELASTIC_RUN_ID": "stage-1"},
            "the process that started this one has ended; run `dvc repro` again",
            id="launcher is gone",
            marks=pytest.mark.fault(72),
        ),
        pytest.param(
            {"TORCHELASTIC_RUN_ID": "a", "DVC_STAGE": "train"},
            "both torchrun and dvc start it; set PL_TRAINER_DEVICES for dvc, or let torchrun start "
            "`python -m stages train`, then run `dvc commit train`",
            id="dvc under torchrun",
            marks=pytest.mark.fault(73),
        ),
    ],
)
def test_wrongly_started_process_is_rejected(toy: Project, variables: dict[str, str], said: str) -> None:
    assert refusal(toy.forked_stage("train", MASTER_ADDR="localhost", **RANKS, **variables)) == f"train: {said}\n"


# tests/unit/guard/test_environment.py has more cases.
@pytest.mark.fault(73)
def test_stray_rank_does_not_bypass_the_lock(held: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    holder = held.start(sys.executable, "-I", "stages/__main__.py", "train")
    lock = held.path / "logs/train.lock"
    wait_for(lambda: lock.exists() and lock.read_text() == str(holder.pid), "the lock")
    monkeypatch.setattr(guard, "LOCK_SECONDS", 0.5)
    stray = {name: RANKS[name] for name in ("RANK", "WORLD_SIZE", "MASTER_PORT")}
    assert f"process {holder.pid} is running this stage here" in refusal(held.here("train", **stray))


@pytest.mark.fault(73)
@pytest.mark.parametrize(
    ("shards", "devices", "said"),
    [
        (3, "1", "params.yaml: batch_size must be a multiple of shards, which is 3, got 128"),
        (2, "4", "4 processes were asked for (PL_TRAINER_DEVICES, torchrun), but params.yaml cuts a"),
    ],
)
def test_incompatible_shards_and_processes_are_rejected_by_check(
    toy: Project, shards: int, devices: str, said: str
) -> None:
    toy.set(shards=shards, batch_size=128)
    assert refusal(toy.here("check", PL_TRAINER_DEVICES=devices)).startswith(f"check: {said}")


@pytest.mark.fault(71)
@pytest.mark.slow
def test_torchrun_with_dvc_commit_locks_the_same_as_dvc_repro(untrained: Project, sharded: Project) -> None:
    torchrun = str(Path(sys.executable).with_name("torchrun"))
    done = untrained.run(torchrun, "--nproc-per-node", "2", "-m", "stages", "train")
    assert done.returncode == 0, done.stderr
    assert "commit" not in untrained.dvc_ok("commit", "--force", "train")
    assert untrained.results() == sharded.results()
    before, after = sharded.lock(), untrained.lock()
    assert [out for out in after["train"]["outs"] if out["path"] != RECEIPT] == [
        out for out in before["train"]["outs"] if out["path"] != RECEIPT
    ]
    assert "Running stage" not in untrained.repro()
