import fcntl
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.conftest import REPOSITORY

STAGES = ("fetch", "train", "evaluate")
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "MNIST_", "PL_", "DVC_"))},
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    # Trainings side by side would else wait for each other by spinning.
    "OMP_WAIT_POLICY": "passive",
    "GIT_CONFIG_GLOBAL": os.devnull,
    **{f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in
       {"NAME": "Tester", "EMAIL": "tester@example.org"}.items()},
}  # fmt: skip


def paths(entries: list) -> list[str]:
    """Names of outs, metrics or plots in dvc.yaml, each with its options or without."""
    return [next(iter(entry)) if isinstance(entry, dict) else entry for entry in entries]


@dataclass(frozen=True)
class Project:
    """A git repository with the pipeline in it."""

    folder: Path

    def run(self, *command: str, returncode: int = 0) -> str:
        done = subprocess.run(command, cwd=self.folder, env=ENVIRONMENT, capture_output=True, text=True)
        assert done.returncode == returncode, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
        return done.stdout + (done.stderr if returncode else "")

    def dvc(self, *arguments: str, returncode: int = 0) -> str:
        return self.run(sys.executable, "-m", "dvc", *arguments, returncode=returncode)

    def git(self, *arguments: str) -> str:
        return self.run("git", *arguments)

    def commit(self, message: str) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)

    def set_params(self, **values: str | int) -> None:
        yaml, path = YAML(), self.folder / "params.yaml"
        content = yaml.load(path)
        assert set(values) <= set(content)
        content.update(values)
        yaml.dump(content, path)

    def edit(self, path: str, old: str, new: str) -> None:
        text = (self.folder / path).read_text()
        assert text.count(old) == 1
        (self.folder / path).write_text(text.replace(old, new))

    def append(self, path: str, text: str) -> None:
        with (self.folder / path).open("a") as file:
            file.write(text)

    def read_yaml(self, path: str) -> dict:
        return YAML(typ="safe").load(self.folder / path)


@pytest.fixture(scope="session")
def reproduced(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Project:
    """The pipeline after `dvc repro` on digits, committed; made once for all workers, changed by no test."""
    own = tmp_path_factory.getbasetemp()
    shared = own if worker_id == "master" else own.parent
    project = Project(shared / "reproduced")
    with (shared / "reproduced.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not project.folder.exists():
            reproduce(copy_of_the_code(shared / "unfinished")).folder.rename(project.folder)
    return project


def copy_of_the_code(folder: Path) -> Project:
    names = subprocess.check_output(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=REPOSITORY, text=True
    )
    for name in names.splitlines():
        if not name.startswith("tests/") and (REPOSITORY / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, folder / name)
    return Project(folder)


def reproduce(project: Project) -> Project:
    project.git("init", "--quiet", "--initial-branch", "main")
    project.set_params(dataset="digits", epochs=1, batch_size=64)
    project.dvc("repro")
    project.commit("One epoch on digits")
    return project


@pytest.fixture
def project(reproduced: Project, tmp_path: Path) -> Project:
    """A copy of its own for one test."""
    return copy_of(reproduced, tmp_path / "project")


def copy_of(project: Project, folder: Path) -> Project:
    return Project(Path(shutil.copytree(project.folder, folder, symlinks=True)))
