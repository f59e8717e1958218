"""Rows 71 to 73: a stage that several processes run is still one run."""

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from src.guard import guard
from tests.faults.project import Project, is_gone, run_stage, shared, wait_for
from tests.faults.test_resume import forget

SHARDS = 2
STAGE = "stages/__main__.py"
# What differs between runs of one and of several processes: the receipt tells their number.
RECEIPT = "receipts/train.json"
KILLED = "train: process 1 of 2 was killed by SIGKILL, so all end; the next run resumes after the last epoch\n"


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory, reproduced: Project) -> Project:
    """A project that one process has trained with shards; changed by no test."""

    def build(path: Path) -> None:
        project = reproduced.copy(path)
        project.set(shards=SHARDS)
        project.make()
        project.commit()

    return shared(tmp_path_factory, "sharded", build)


@pytest.fixture
def untrained(sharded: Project, tmp_path: Path) -> Iterator[Project]:
    """It, to be trained again from the start."""
    project = sharded.copy(tmp_path / "untrained")
    forget(project)
    yield project
    project.clean_up()


@pytest.fixture
def held(toy: Project) -> Project:
    """A toy project whose stage train would not end."""
    toy.set(shards=SHARDS)
    toy.hold("train")
    return toy


@pytest.fixture
def training(untrained: Project) -> Project:
    """A project that would train for long."""
    untrained.set(epochs=1000)
    return untrained


def helper_of(leader: int) -> psutil.Process:
    """The process that a training process has started."""
    return wait_for(lambda: next(iter(psutil.Process(leader).children()), None), "the second process")


def start_two(project: Project) -> tuple[subprocess.Popen[str], psutil.Process]:
    """Start the stage train as two processes; returns both as soon as both are at work."""
    history = project.path / "plots/history.csv"
    history.unlink()
    leader = project.start(sys.executable, "-I", STAGE, "train", PL_TRAINER_DEVICES="2")
    helper = helper_of(leader.pid)
    wait_for(history.exists, "the first epoch")
    # The second epoch follows when both have done the first; of a toy, each process writes it.
    first = history.stat().st_ino
    wait_for(lambda: history.stat().st_ino != first, "the second process")
    return leader, helper


def strike(project: Project, number: int, struck: list[psutil.Process]) -> None:
    """Send a signal to the second process of this process's stage once an epoch is done."""
    wait_for((project.path / "plots/history.csv").exists, "the first epoch")
    struck += [child for child in psutil.Process().children() if STAGE in child.cmdline()]
    struck[0].send_signal(number)


@pytest.mark.slow
def test_row_71_two_processes_write_the_bytes_of_one(
    untrained: Project, sharded: Project, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(untrained.path)
    monkeypatch.setenv("PL_TRAINER_DEVICES", "2")
    for name in ("models/model.safetensors", "metrics/train.json", "plots/history.csv"):
        (untrained.path / name).unlink()
    assert run_stage("train") == 0
    assert untrained.results() == sharded.results()
    assert '"processes": 2' in (untrained.path / RECEIPT).read_text()
    assert '"processes"' not in (sharded.path / RECEIPT).read_text()
    said = capfd.readouterr()
    assert said.out.count("validation") == 1
    assert said.err == ""


@pytest.mark.slow
def test_row_72_a_killed_process_ends_all_and_the_next_run_resumes(
    untrained: Project, sharded: Project, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(untrained.path)
    (untrained.path / "plots/history.csv").unlink()
    untrained.set(epochs=100)
    with monkeypatch.context() as patch:
        patch.setenv("PL_TRAINER_DEVICES", "2")
        struck: list[psutil.Process] = []
        killer = threading.Thread(target=strike, args=(untrained, signal.SIGKILL, struck))
        killer.start()
        assert run_stage("train") == 1
        killer.join()
    said = capfd.readouterr().err
    assert said == KILLED
    # With the constant rate of this project, a run of fewer epochs may resume only if it has not done more already.
    done = (untrained.path / "plots/history.csv").read_text().count("\n") - 1
    untrained.set(epochs=max(done, 3))
    assert run_stage("train") == 0
    assert "Resuming after epoch" in capfd.readouterr().out
    whole = sharded.copy(untrained.path.parent / "whole")
    forget(whole)
    whole.set(epochs=max(done, 3))
    monkeypatch.chdir(whole.path)
    assert run_stage("train") == 0
    for name in ("models/model.safetensors", "metrics/train.json", "plots/history.csv"):
        assert (untrained.path / name).read_bytes() == (whole.path / name).read_bytes()


def test_row_72_all_end_when_one_is_killed(held: Project) -> None:
    leader, helper = start_two(held)
    helper.kill()
    assert leader.wait(20) == 1
    assert held.output().endswith(KILLED)


@pytest.mark.parametrize("kind", ["held", pytest.param("training", marks=pytest.mark.slow)])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_row_72_the_second_process_ends_with_the_first(request: pytest.FixtureRequest, kind: str, number: int) -> None:
    project: Project = request.getfixturevalue(kind)
    leader, helper = start_two(project)
    leader.send_signal(number)
    assert leader.wait(20) in (-number, 128 + number)
    wait_for(lambda: is_gone(helper), "the end of the second process", seconds=5)


@pytest.mark.parametrize("stray", [{"LOCAL_RANK": "1"}, {"RANK": "1", "WORLD_SIZE": "2", "MASTER_PORT": "1"}])
def test_row_73_a_stray_rank_does_not_pass_the_lock_of_a_running_stage(
    toy: Project, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], stray: dict[str, str]
) -> None:
    toy.hold("train")
    holder = toy.start(sys.executable, "-I", STAGE, "train")
    lock = toy.path / "logs/train.lock"
    wait_for(lambda: lock.exists() and lock.read_text() == str(holder.pid), "the lock")
    monkeypatch.chdir(toy.path)
    monkeypatch.setattr(guard, "LOCK_SECONDS", 0.5)
    for name, value in stray.items():
        monkeypatch.setenv(name, value)
    assert run_stage("train") == 1
    assert f"process {holder.pid} is running this stage here" in capfd.readouterr().err


def test_row_73_dvc_is_started_once_for_all_processes(
    toy: Project, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(toy.path)
    ranks = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "MASTER_PORT": "1"}
    for name, value in {**ranks, "MASTER_ADDR": "localhost", "TORCHELASTIC_RUN_ID": "a", "DVC_STAGE": "train"}.items():
        monkeypatch.setenv(name, value)
    assert run_stage("train") == 1
    said = capfd.readouterr().err
    assert "torchrun started dvc once for each process, and this is process 1 of 2; let it start" in said


@pytest.mark.parametrize(
    ("params", "devices", "said"),
    [
        ({"shards": 3}, "1", "check: params.yaml: batch_size must be a multiple of shards, which is 3, got 128"),
        ({"shards": 2}, "4", "check: PL_TRAINER_DEVICES is 4, but params.yaml cuts a batch into 2 shards: "),
        ({"shards": 1}, "2", "check: PL_TRAINER_DEVICES is 2, but params.yaml cuts a batch into 1 shard: "),
        ({"shards": 4}, "x", "check: PL_TRAINER_DEVICES: expected a whole number of at least 1, got 'x'"),
    ],
)
def test_row_73_shards_and_processes_that_do_not_fit_are_refused_by_the_check(
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    params: dict[str, int],
    devices: str,
    said: str,
) -> None:
    project.set(**params)
    monkeypatch.chdir(project.path)
    monkeypatch.setenv("PL_TRAINER_DEVICES", devices)
    assert run_stage("check") == 1
    assert capfd.readouterr().err.startswith(said)


@pytest.mark.slow
def test_row_71_torchrun_and_dvc_commit_lock_what_dvc_repro_does(untrained: Project, sharded: Project) -> None:
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


@pytest.mark.slow
def test_row_71_srun_starts_processes_that_find_each_other(untrained: Project, sharded: Project) -> None:
    """As srun would: two processes with its variables, none of which the other has started."""
    (untrained.path / "models/model.safetensors").unlink()
    slurm = {
        "SLURM_JOB_ID": "54321",
        "SLURM_JOB_NAME": "train",
        "SLURM_NTASKS": "2",
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_STEP_TASKS_PER_NODE": "2",
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_NODEID": "0",
    }
    started = [
        untrained.start(sys.executable, "-m", "stages", "train", SLURM_PROCID=rank, SLURM_LOCALID=rank, **slurm)
        for rank in ("0", "1")
    ]
    assert [process.wait(120) for process in started] == [0, 0], untrained.output()
    assert untrained.results() == sharded.results()
