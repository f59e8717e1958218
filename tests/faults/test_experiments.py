"""A killed experiment resumes, even though DVC deletes the copy in which it ran."""

import os
import random
import re
import signal
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from ruamel.yaml import YAML

from src.core.files import md5
from tests.faults.project import Project, is_gone, wait_for

EPOCHS = 10
GOING_ON = re.compile(r"Resuming after epoch (\d+) of 10")


@pytest.fixture
def experiments(project: Project) -> Project:
    project.set(epochs=EPOCHS, schedule="one-cycle")
    project.commit()
    return project


def trainer(project: Project) -> psutil.Process | None:
    """The training process in one of the copies."""
    copies = project.path / ".dvc/tmp/exps"
    for process in psutil.process_iter():
        try:
            if process.cmdline()[-2:] == ["stages/__main__.py", "train"] and copies in Path(process.cwd()).parents:
                return process
        except psutil.Error:
            continue
    return None


def started(project: Project, queued: bool) -> psutil.Process | None:
    """The trainer of an experiment. DVC takes a queue's worker that is about to end for one that will go on."""
    found = trainer(project)
    if queued and found is None:
        project.dvc("queue", "start")
    return found


def state(project: Project) -> list[int]:
    """State that changes whenever a checkpoint is written."""
    return sorted(path.stat().st_mtime_ns for path in (project.path / "logs/checkpoints").glob("*.ckpt"))


def start(project: Project, name: str, seed: int, queued: bool) -> Any:
    """Start an experiment; returns a function that tells whether it is still running."""
    settings = ("--name", name, "--set-param", f"seed={seed}")
    if not queued:
        process = project.start(sys.executable, "-m", "dvc", "exp", "run", "--temp", *settings)
        return lambda: process.poll() is None
    assert project.dvc("exp", "run", "--queue", *settings).returncode == 0
    return lambda: not re.search(rf"{name}.*(Success|Failed)", project.dvc("queue", "status").stdout)


def said(project: Project, name: str, queued: bool) -> str:
    return project.dvc("queue", "logs", name).stdout if queued else project.output()


def fresh_hashes(project: Project, folder: Path, seed: int) -> dict[str, str]:
    """Output hashes of an uninterrupted training in a separate repository."""
    fresh = project.copy(folder)
    for path in (fresh.path / "logs/checkpoints").glob("*"):
        path.unlink()
    fresh.set(seed=seed)
    assert fresh.here("train").returncode == 0
    return {out["path"]: md5(fresh.path / out["path"]) for out in fresh.lock()["train"]["outs"]}


def locked_hashes(project: Project, name: str) -> dict[str, str]:
    """Locked output hashes of an experiment's training."""
    lock = YAML(typ="safe").load(project.git("show", f"{project.dvc_ref(name)}:dvc.lock"))
    return {out["path"]: out["md5"] for out in lock["stages"]["train"]["outs"]}


@pytest.mark.fault(52)
@pytest.mark.slow
@pytest.mark.parametrize(("queued", "kills"), [(False, 40), (True, 10)], ids=["temp", "queued"])
def test_experiments_killed_at_random_resume(experiments: Project, tmp_path: Path, queued: bool, kills: int) -> None:
    generator, done, resumed, seed = random.Random(0), 0, 0, 0
    while done < kills:
        seed += 1
        checkpoints = set((experiments.path / "logs/checkpoints").iterdir())
        for attempt in range(kills + 1):
            name = f"s{seed}a{attempt}"
            runs = start(experiments, name, seed, queued)
            process = wait_for(lambda: started(experiments, queued), "a trainer")
            before = set((experiments.path / "logs/checkpoints").iterdir()) - checkpoints
            # Some epochs later, or while it imports torch.
            for _ in range(generator.randrange(4)):
                look = state(experiments)
                wait_for(lambda: state(experiments) != look or is_gone(process), "an epoch")  # noqa: B023
            time.sleep(generator.uniform(0, 1))
            killed = done < kills and not is_gone(process)
            if killed:
                os.kill(process.pid, generator.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGHUP]))
                done += 1
            wait_for(lambda: not runs(), "the end of the experiment", seconds=300)  # noqa: B023
            print(f"{done} kills, {resumed} experiments resumed and ended")
            going_on = GOING_ON.search(said(experiments, name, queued))
            # A training that was killed while importing torch has not printed anything.
            assert bool(going_on) <= bool(before)
            if not killed:
                assert bool(going_on) == bool(before)
                resumed += bool(going_on)
                break
        assert locked_hashes(experiments, name) == fresh_hashes(experiments, tmp_path / name, seed)
    print(f"{done} kills of {seed} experiments, {resumed} of which went on where they were and ended in the same bytes")
