import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import psutil
import pytest
import sqlalchemy

from src.mnist.model.params import Params
from src.revision.receipts import Receipt
from src.sweep.__main__ import main
from src.sweep.experiments import TEST_SCORE, Result, references
from src.sweep.study import engine_options
from tests.faults.project import Project, shared

# Timeout in seconds for a trial to start or end on a busy machine.
LONG = 300.0
# Output of the sweep of `swept`.
PRINTED = "logs/printed"
IDENTITY = [f"GIT_{role}_{key}" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")]


@contextmanager
def inside(project: Project) -> Iterator[pytest.MonkeyPatch]:
    """Use the current directory and the environment of the project's user."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project.path)
        for name in os.environ.keys() - project.env.keys():
            patch.delenv(name)
        for name, value in project.env.items():
            patch.setenv(name, value)
        yield patch


@pytest.fixture(scope="session")
def swept(toy_made: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project after its first sweep of three seeds, one of which fails; tests must not change it.

    The sweep ran in a git hook, on data tracked by DVC, for a user who is configured only in this repository. Each dvc
    process died just before its exit.
    """

    def build(path: Path) -> None:
        project = toy_made.copy(path)
        # One of the seeds is that of params.yaml.
        project.set(lr=0.005, seed=0)
        # A folder, a part of it, and a file in a folder that git tracks.
        for name in ("unheard/0", "unheard/1", "given/code", "given/data"):
            (path / name).parent.mkdir(exist_ok=True)
            (path / name).write_text(name)
        for stage, added in (("train", "    - unheard/1\n    - given\n"), ("evaluate", "    - unheard\n")):
            command = f"stages/__main__.py {stage}\n    deps:\n"
            project.edit("dvc.yaml", command, command + added)
        project.dvc_ok("add", "unheard", "given/data")
        project.dvc_ok("remote", "add", "--default", "store", str(path.parent / "store"))
        project.commit()
        write_spec(project, {"seed": "13,0,1"})
        (path / "docs.txt").write_text("not committed, and none of the code")
        before = working_tree(project)
        assert "docs.txt" in before
        (path.parent / "dying").mkdir()
        (path.parent / "dying/sitecustomize.py").write_text(
            "import atexit, os, sys\nif 'exp' in sys.orig_argv: atexit.register(os._exit, 9)\n"
        )
        for key in ("user.name", "user.email"):
            project.git("config", key, "ada@example.org")
        with inside(project) as patch, (path / PRINTED).open("w") as printed, redirect_stdout(printed):
            patch.setenv("PYTHONPATH", str(path.parent / "dying"))
            for name in IDENTITY:
                patch.delenv(name)
            # git sets these for a hook in a second working tree, and for `git rebase --exec`.
            patch.setenv("GIT_DIR", str(path / ".git"))
            patch.setenv("GIT_INDEX_FILE", str(path / ".git/index"))
            assert main(["--workers", "2"]) == 1
        assert working_tree(project) == before

    return shared(tmp_path_factory, "swept", build)


@pytest.fixture
def in_copy(swept: Project, tmp_path: Path) -> Iterator[Project]:
    """A copy of `swept` as the current directory."""
    project = swept.copy(tmp_path / "lab")
    with inside(project):
        yield project


def forge(project: Project, path: str, old: str, new: str) -> str:
    """Change a file of the oldest experiment and return its reference."""
    reference = next(iter(references(project.path).values()))
    project.git("checkout", "--quiet", reference)
    project.edit(path, old, new)
    project.git("commit", "--quiet", "--all", "--message", "forged")
    project.git("update-ref", reference, "HEAD")
    project.git("checkout", "--quiet", "main")
    return reference


def write_spec(project: Project, params: Mapping[str, object], **others: object) -> None:
    (project.path / "sweep.yaml").write_text(json.dumps({"params": params, **others}))


def working_tree(project: Project) -> str:
    """State of the working tree, HEAD, stash and params."""
    changed = project.git("status", "--porcelain", "--", ".", ":!logs.txt")
    params = (project.path / "params.yaml").read_text()
    return f"{changed}{project.git('symbolic-ref', 'HEAD')}{project.git('stash', 'list')}{params}"


def sweep(project: Project, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return project.run(sys.executable, "-m", "src.sweep", *arguments, **env)


def sweep_ok(project: Project, *arguments: str, **env: str) -> str:
    done = sweep(project, *arguments, **env)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def start_sweep(project: Project, *arguments: str, **env: str) -> subprocess.Popen[str]:
    return project.start(sys.executable, "-m", "src.sweep", *arguments, **env)


def clone(project: Project, remote: Path, folder: Path) -> Project:
    """A clone that shares the project's DVC cache."""
    subprocess.run(["git", "clone", "--quiet", str(remote), str(folder)], check=True)
    other = Project(folder)
    other.env = {**project.env, "DVC_SITE_CACHE_DIR": str(folder.parent / f"site-{folder.name}")}
    (folder / ".dvc/config.local").write_text(f"[cache]\n    dir = {project.path / '.dvc/cache'}\n")
    return other


def make_remote(lab: Project, tmp_path: Path) -> Path:
    """A bare clone of the lab, added as its remote."""
    lab.commit()
    lab.git("clone", "--quiet", "--bare", ".", str(tmp_path / "remote.git"))
    lab.git("remote", "add", "origin", str(tmp_path / "remote.git"))
    return tmp_path / "remote.git"


def pushed(project: Project) -> int:
    """Number of experiments on the project's remote."""
    return project.git("ls-remote", "origin", "refs/exps/*").count("refs/exps/")


def learning_rates(project: Project) -> list[float]:
    """Learning rate of every experiment, from its commit."""
    shown = [project.git("show", f"{ref}:params.yaml") for ref in references(project.path).values()]
    return sorted(float(found[1]) for text in shown if (found := re.search(r"^lr: (\S+)", text, re.MULTILINE)))


def states(storage: str) -> list[str]:
    """State of the last trial of every slot, read directly from the database."""
    found = (
        "SELECT value_json, state FROM trials JOIN trial_user_attributes USING (trial_id) WHERE key = 'slot' "
        "ORDER BY number"
    )
    url = sqlalchemy.make_url(storage)
    with sqlalchemy.create_engine(url, **engine_options(url)).connect() as connection:
        return sorted(dict(map(tuple, connection.execute(sqlalchemy.text(found)))).values())


def count(file: Path) -> int:
    """Number of trainings that have started, counted with TOY_COUNT."""
    return file.read_text().count("\n") if file.exists() else 0


def processes(project: Project, word: str) -> list[psutil.Process]:
    """Processes in the project's folder with this word in their command."""
    found = []
    for process in psutil.process_iter():
        try:
            if word in process.cmdline() and Path(process.cwd()).is_relative_to(project.path):
                found.append(process)
        except psutil.Error:
            continue
    return found


def made_up(params: Params, val_acc: float, test_acc: float = 0.5, device: str = "cpu", **changes: object) -> Result:
    """A made-up result."""
    changed = params.model_copy(update=changes).model_dump()
    outs, machine = {"data/MNIST": "abc.dir"}, {"device": device}
    receipt = Receipt(stage="train", deps={}, params={}, outs=outs, versions={"torch": "2.15.0"}, machine=machine)
    receipts = dict.fromkeys(("fetch", "train", "evaluate"), receipt)
    return Result(f"run-{changed!r}", changed, "0" * 40, val_acc, {TEST_SCORE: test_acc}, receipts)
