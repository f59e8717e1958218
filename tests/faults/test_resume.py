"""An interrupted training resumes, and its results are the same as without the interruption."""

import multiprocessing
import multiprocessing.process
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from ruamel.yaml import YAML

from src.core.copies import original
from src.core.errors import UserError
from src.guard import unused
from src.mnist.train import checkpoint
from src.mnist.train.checkpoint import (
    CheckpointFiles,
    Checkpoints,
    delete_oldest,
)
from src.mnist.train.classifier import Classifier
from tests.faults.project import Project, refusal, run_stage, wait_for
from tests.unit.mnist.model.test_network import Marker

INJECT = str(Path(__file__).parent / "inject")
# Audit event, part of a path, number of events to skip, delay in seconds.
PLACES = {
    "before-the-first-epoch": ("open", "train-images-idx3-ubyte", 1, 0),
    "in-the-middle-of-an-epoch": ("os.rename", "history.csv", 1, 0.05),
    "while-a-checkpoint-is-written": ("os.rename", ".ckpt", 1, 0),
    "at-the-end-of-an-epoch": ("open", "history.csv", 1, 0),
    "while-outputs-are-written": ("os.rename", "learning_curve.png", 0, 0),
    "after-the-model-is-written": ("os.rename", "model.safetensors", 0, 0.02),
}
# A shell that waits for its command reports SIGKILL as 137, one that became the command as -9: DVC takes $SHELL.
SIGNALS = {"SIGKILL": (-9, 137), "SIGTERM": (143,), "SIGINT": (130,), "SIGUSR1": (138,)}
# In a batch system, Lightning handles some of these signals and searches for its own checkpoints.
SLURM = {"SLURM_JOB_ID": "1", "SLURM_NTASKS": "1", "SLURM_JOB_NAME": "job", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}


@pytest.fixture
def to_train(project: Project) -> Project:
    """A project before the first training: there is data, but no checkpoint and no result."""
    forget(project)
    lose_results(project)
    return project


def lose_results(project: Project) -> None:
    """State after a `dvc repro` whose disk was full when DVC stored the results of training."""
    lock = project.read_yaml("dvc.lock")
    for stage in ("train", "evaluate"):
        for out in lock["stages"].pop(stage)["outs"]:
            (project.path / out["path"]).unlink()
    YAML().dump(lock, project.path / "dvc.lock")
    shutil.rmtree(project.path / ".dvc/cache/runs")


def forget(project: Project) -> None:
    for path in (project.path / "logs/checkpoints").glob("*.ckpt"):
        path.unlink()


def only_checkpoint(project: Project) -> Path:
    (path,) = (project.path / "logs/checkpoints").iterdir()
    return path


def assert_same_results(project: Project, reproduced: Project) -> None:
    assert project.results() == reproduced.results()
    assert project.lock() == reproduced.lock()
    assert "up to date" in project.dvc("status").stdout
    assert not list(project.path.glob("[!.]*/**/.*.tmp"))


def assert_same_training(project: Project, reproduced: Project) -> None:
    for out in reproduced.lock()["train"]["outs"]:
        assert (project.path / out["path"]).read_bytes() == (reproduced.path / out["path"]).read_bytes()


def killing(project: Project, name: str, place: str) -> dict[str, str]:
    """Environment variables that send a signal to the train stage at a certain operation."""
    kill_at = ",".join(map(str, ("train", name, *PLACES[place])))
    path = f"{INJECT}{os.pathsep}{project.env['PATH']}"
    # Checkpoints must not depend on the folder of temporary files.
    return {"PATH": path, "REAL_PYTHON": sys.executable, "KILL_AT": kill_at, "TMPDIR": "/dev/shm", **SLURM}


def kill_training(project: Project, name: str, place: str) -> None:
    """Run a `dvc repro` whose train stage gets a signal at a certain operation; nothing may be locked."""
    lock = project.lock()
    done = project.dvc("repro", **killing(project, name, place))
    assert done.returncode != 0
    assert any(f"exited with {code}" in done.stderr + done.stdout for code in SIGNALS[name])
    assert not list(project.path.rglob("hpc_ckpt*"))
    assert project.lock() == lock


@pytest.mark.fault(1)
def test_training_killed_within_an_epoch_resumes(to_train: Project, reproduced: Project) -> None:
    # Not in a fork, in which autograd may fail.
    done = to_train.stage("train", **killing(to_train, "SIGKILL", "in-the-middle-of-an-epoch"))
    assert done.returncode == -signal.SIGKILL
    assert "Resuming after epoch" in trained(to_train).stdout
    assert_same_training(to_train, reproduced)


@pytest.mark.fault(1, 2, 3, 7, 45)
@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", SIGNALS)
def test_killed_training_resumes(to_train: Project, reproduced: Project, name: str, place: str) -> None:
    kill_training(to_train, name, place)
    said = to_train.repro()
    assert ("Resuming after epoch" in said) == (place != "before-the-first-epoch")
    assert_same_results(to_train, reproduced)


def guarded_training(path: Path) -> None:
    """Run the train stage as `python -m stages train` does, in a process that has already imported everything."""
    os.chdir(path)
    # As in the script, for a signal that arrives before the guard handles signals.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(run_stage("train"))


def training_in_a_process(project: Project) -> multiprocessing.process.BaseProcess:
    # Children of a server that has imported everything but computed nothing start immediately.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    process = context.Process(target=guarded_training, args=(project.path,))
    process.start()
    return process


@pytest.mark.fault(1, 2, 3)
@pytest.mark.slow
def test_trainings_killed_at_random_resume(to_train: Project, reproduced: Project) -> None:
    made_here = {out["path"] for out in reproduced.lock()["train"]["outs"]}
    expected = {name: content for name, content in reproduced.results().items() if name in made_here}
    # The first child takes longer, since the server has to start.
    for _ in range(2):
        started = time.monotonic()
        training_in_a_process(to_train).join()
        duration = time.monotonic() - started
    generator, kills = random.Random(0), 0
    while kills < 50:
        forget(to_train)
        shutil.rmtree(to_train.path / "models")
        process = training_in_a_process(to_train)
        # The training is killed repeatedly until it finishes.
        while True:
            number = generator.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
            process.join(generator.uniform(0, duration))
            if process.exitcode is None:
                os.kill(process.pid or 0, number)
                process.join()
            if process.exitcode == 0:
                break
            assert process.exitcode in (-number, 128 + number)
            kills += 1
            process = training_in_a_process(to_train)
        assert {name: content for name, content in to_train.results().items() if name in made_here} == expected
    print(f"{kills} kills")


def trained(project: Project) -> subprocess.CompletedProcess[str]:
    """A train stage in this process, which must succeed."""
    done = project.here("train")
    assert done.returncode == 0, done.stderr
    return done


# `test_damaged_checkpoint_is_never_loaded` has every kind of damage.
@pytest.mark.fault(8, 9, 10)
def test_training_with_a_damaged_checkpoint_starts_over(project: Project, reproduced: Project) -> None:
    lose_results(project)
    checkpoint = only_checkpoint(project)
    checkpoint.write_bytes(checkpoint.read_bytes()[:-1])
    done = trained(project)
    assert "Resuming" not in done.stdout
    assert done.stderr.count("is damaged") == 1
    assert_same_training(project, reproduced)


def edit_network(project: Project) -> None:
    project.append("src/mnist/model/network.py", "# edited\n")


# Actions after a training of three epochs.
@pytest.mark.parametrize(
    ("act", "params"),
    [
        pytest.param(None, {"lr": 0.002}, marks=pytest.mark.fault(11), id="another rate"),
        pytest.param(edit_network, {}, marks=pytest.mark.fault(12), id="other code"),
        # Code may compute with their number, whatever the schedule.
        pytest.param(None, {"epochs": 4}, marks=pytest.mark.fault(13), id="more epochs"),
        pytest.param(None, {"epochs": 1}, marks=pytest.mark.fault(14), id="fewer epochs"),
        # A forced run: dvc.lock has its results.
        pytest.param(None, {}, id="nothing"),
    ],
)
def test_training_with_different_inputs_starts_over(
    project: Project, monkeypatch: pytest.MonkeyPatch, act: Callable[[Project], None] | None, params: dict[str, object]
) -> None:
    def stop(*_: object) -> None:
        raise UserError("a step is made")

    monkeypatch.setattr(Classifier, "training_step", stop)
    if act:
        act(project)
    project.set(**params)
    done = project.here("train")
    assert refusal(done) == "train: a step is made\n"
    assert "Resuming" not in done.stdout


@pytest.mark.fault(12)
def test_code_changed_during_import_writes_no_checkpoint(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def edit_and_import(name: str) -> ModuleType:
        edit_network(project)
        project.set(epochs=4)
        return import_module(name)

    monkeypatch.setattr(unused, "import_module", edit_and_import)
    checkpoints = sorted(project.path.glob("logs/checkpoints/*"))
    said = refusal(project.here("train"))
    assert "src/mnist/model/network.py, params.yaml: epochs: touched during the run" in said
    assert sorted(project.path.glob("logs/checkpoints/*")) == checkpoints


@pytest.mark.fault(8, 9, 10)
def test_damaged_checkpoint_is_never_loaded(tmp_path: Path) -> None:
    path, generator = tmp_path / "a.ckpt", random.Random(0)
    CheckpointFiles().save_checkpoint({"weights": torch.arange(20.0), "epoch": 2}, path)
    whole = path.read_bytes()
    damaged = [whole[:size] for size in range(len(whole))]
    for place in range(len(whole)):
        bit = 1 << generator.randrange(8)
        damaged.append(whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :])
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(UserError, match="is damaged"):
            CheckpointFiles().load_checkpoint(path)
    # The name identifies the training.
    path.with_name("b.ckpt").write_bytes(whole)
    with pytest.raises(UserError, match="is damaged"):
        CheckpointFiles().load_checkpoint(path.with_name("b.ckpt"))


@pytest.mark.fault(37)
def test_malicious_checkpoint_is_not_executed(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    marker = Marker(project.path / "pwned")
    # The variable may affect the choice of kernels, so this training has a different file.
    project.set(epochs=1)
    trained(project)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "get_unsafe_globals_in_checkpoint", lambda _: [])
        for path in (project.path / "logs/checkpoints").iterdir():
            CheckpointFiles().save_checkpoint({"evil": marker}, path)
    assert "is not a checkpoint of this pipeline" in trained(project).stderr
    assert not marker.path.exists()
    pickle.loads(pickle.dumps(marker))
    assert marker.path.exists()


def write_checkpoints(path: Path) -> None:
    for number in range(sys.maxsize):
        CheckpointFiles().save_checkpoint({"number": number, "weights": torch.full((1000,), float(number))}, path)


@pytest.mark.fault(7)
def test_kill_during_a_write_leaves_the_old_or_the_new_checkpoint(tmp_path: Path) -> None:
    path, generator = tmp_path / "a.ckpt", random.Random(0)
    for _ in range(5):
        path.unlink(missing_ok=True)
        writer = multiprocessing.get_context("fork").Process(target=write_checkpoints, args=(path,))
        writer.start()
        wait_for(path.exists, "the first checkpoint")
        time.sleep(generator.uniform(0, 0.05))
        writer.kill()
        writer.join()
        loaded = CheckpointFiles().load_checkpoint(path)
        assert (loaded["weights"] == loaded["number"]).all()
    assert writer.exitcode == -signal.SIGKILL


@pytest.mark.fault(53)
def test_finished_training_with_lost_results_is_not_repeated(
    project: Project, reproduced: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose_results(project)
    monkeypatch.setattr(Classifier, "training_step", lambda *_: pytest.fail("it trains"))
    assert "Resuming after epoch " in trained(project).stdout
    assert_same_training(project, reproduced)


@pytest.mark.fault(53)
def test_input_drift_ends_training_before_the_next_epoch(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    source = project.path / "src/mnist/model/network.py"
    before = source.read_text()

    def edit(self: Checkpoints, trainer: Trainer, pl_module: LightningModule) -> None:
        write(self, trainer, pl_module)
        source.write_text(before + "# edited\n")

    write = Checkpoints.on_train_epoch_end
    project.set(epochs=2)
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "on_train_epoch_end", edit)
        assert "src/mnist/model/network.py: touched during the run" in refusal(project.here("train"))
    source.write_text(before)
    assert "Resuming after epoch 1 of 2" in trained(project).stdout


@pytest.mark.fault(52)
def test_original_of_a_copy_is_its_repository(tmp_path: Path) -> None:
    assert original(tmp_path) == tmp_path
    for copy in ("standalone/tmpabc", "tmp12/nested"):
        assert original(tmp_path / ".dvc/tmp/exps" / copy) == tmp_path


def checkpoint_of(folder: Path, number: int) -> Path:
    """A file with a checkpoint's name, written at this time."""
    path = folder / f"{number:064x}.ckpt"
    path.write_bytes(bytes(10))
    os.utime(path, (number, number))
    return path


@pytest.mark.fault(52)
def test_checkpoints_are_limited_in_number_and_size(tmp_path: Path) -> None:
    paths = [checkpoint_of(tmp_path, number) for number in range(6)]
    delete_oldest(paths[5], max_files=5, max_bytes=1000)
    assert sorted(tmp_path.iterdir()) == paths[1:]
    # The newest four may belong to trainings that run at the same time.
    delete_oldest(paths[5], max_files=5, max_bytes=25)
    assert sorted(tmp_path.iterdir()) == paths[2:]


@pytest.mark.fault(64)
def test_own_checkpoint_is_kept_if_the_clock_is_set_back(tmp_path: Path) -> None:
    paths = [checkpoint_of(tmp_path, number) for number in range(3)]
    delete_oldest(paths[0], max_files=2)
    assert sorted(tmp_path.iterdir()) == [paths[0], paths[2]]


@pytest.mark.fault(97)
def test_only_checkpoints_are_deleted_and_failures_are_ignored(tmp_path: Path) -> None:
    (tmp_path / ".ipynb_checkpoints").mkdir()
    # Files of users or Lightning, and a folder that unlink cannot remove.
    others = [tmp_path / name for name in (".ipynb_checkpoints/notes", "notes.txt", "hpc_ckpt_1.ckpt")]
    for path in others:
        path.write_bytes(bytes(1000))
        os.utime(path, (0, 0))
    stuck = tmp_path / f"{1:064x}.ckpt"
    stuck.mkdir()
    os.utime(stuck, (1, 1))
    paths = [checkpoint_of(tmp_path, number) for number in range(2, 5)]
    delete_oldest(paths[2], max_files=1, max_bytes=1)
    left = [path for path in tmp_path.rglob("*") if path.name != ".ipynb_checkpoints"]
    assert sorted(left) == sorted([*others, stuck, paths[2]])


def delete_often(folder: Path) -> None:
    for number in range(50):
        own = folder / f"{os.getpid():032x}{number:032x}.ckpt"
        own.touch()
        delete_oldest(own, max_files=3)


@pytest.mark.fault(52)
def test_concurrent_writers_may_delete_checkpoints(tmp_path: Path) -> None:
    writers = [multiprocessing.get_context("fork").Process(target=delete_often, args=(tmp_path,)) for _ in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert len(list(tmp_path.iterdir())) <= 3


@pytest.mark.fault(2, 3, 45)
def test_training_interrupted_after_each_epoch_resumes_from_its_checkpoints(
    to_train: Project, reproduced: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_and_signal(self: Checkpoints, trainer: Trainer) -> None:
        write(self, trainer)
        os.kill(os.getpid(), number)

    write = Checkpoints._write
    for variable, value in SLURM.items():
        monkeypatch.setenv(variable, value)
    others = [to_train.path / folder / "hpc_ckpt_1.ckpt" for folder in (".", "logs", "logs/checkpoints", "models")]
    for path in others:
        path.parent.mkdir(exist_ok=True)
        shutil.copy(only_checkpoint(reproduced), path)
    for epoch, number in enumerate((signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)):
        with monkeypatch.context() as patch:
            patch.setattr(Checkpoints, "_write", write_and_signal)
            done = to_train.here("train")
        assert done.returncode == 128 + number
        assert ("Resuming" in done.stdout) == (epoch > 0)
        assert epoch == 0 or f"Resuming after epoch {epoch} of 3" in done.stdout
        assert not (to_train.path / "metrics/train.json").exists()
        assert not (to_train.path / "receipts/train.json").exists()
    assert sorted(to_train.path.rglob("hpc_ckpt*")) == sorted(others)
    assert "Resuming after epoch 3 of 3" in trained(to_train).stdout
    assert_same_training(to_train, reproduced)
