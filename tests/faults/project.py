"""A copy of the pipeline in its own git repository, run by the real dvc on the built-in digits."""

import fcntl
import gc
import io
import logging
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import chdir, nullcontext, redirect_stderr, redirect_stdout, suppress
from importlib import import_module
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace
from typing import IO, Any, get_args
from unittest.mock import patch

import dvc.cli
import psutil
import pytest
from ruamel.yaml import YAML

import stages.__main__
from src.core.files import is_within
from src.core.run import ReceiptFields, Run
from src.guard import unused
from src.guard.stage import read_stages
from src.mnist.model.params import Params
from tests.conftest import THREADS

ROOT = Path(__file__).parents[2]
TOY_STAGE = Path(__file__).parent / "toy_stage.py"
CODE = (
    "src",
    "stages",
    ".dvc/.gitignore",
    ".dvc/plots",
    ".dvcignore",
    ".gitattributes",
    ".gitignore",
    "dvc.yaml",
    "params.yaml",
    "metrics_policy.yaml",
    "Makefile",
    "requirements.lock",
    "requirements.txt",
)
# Set by importing Lightning and by training; a stage in a process of its own records its environment before that.
SET_BY_TRAINING = ("PYTORCH_NVML_BASED_CUDA_CHECK", "CUBLAS_WORKSPACE_CONFIG")
# The environment before any test: torch and Lightning set variables that would change a stage's receipt.
ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    if name not in SET_BY_TRAINING and not name.startswith(("PL_", "DVC_", "GIT_", "MNIST_", "PYTEST"))
}
# dvc and its libraries import these when they run a command; forks do not have to import them again.
DVC_IMPORTS = (
    "cachemgr cli.parser data_cloud repo.artifacts repo.datasets repo.experiments.queue.celery repo.graph repo.plots "
    "repo.experiments.run repo.stage repo.trie utils.hydra utils.strictyaml"
)
for module in (*(f"dvc.{name}" for name in DVC_IMPORTS.split()), "dulwich.porcelain", "hydra", "networkx", "pygit2"):
    import_module(module)
# Timeout in seconds for expected events.
DEADLINE = 300.0


class Project:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.started: list[Any] = []
        self.env = {
            **ENVIRONMENT,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "DVC_SITE_CACHE_DIR": str(path.parent / "site"),
            "DVC_NO_ANALYTICS": "1",
            "GIT_AUTHOR_NAME": "t",
            "GIT_AUTHOR_EMAIL": "t@example.org",
            "GIT_COMMITTER_NAME": "t",
            "GIT_COMMITTER_EMAIL": "t@example.org",
            "PYTHONDONTWRITEBYTECODE": "1",
            # Do not use the user's settings.
            "GIT_CONFIG_GLOBAL": os.devnull,
        }

    @classmethod
    def create(cls, path: Path, **params: Any) -> "Project":
        """A fresh project with the code of this repository and different params, committed."""
        given = _given()
        for name in (*CODE, *(name for name in given if not given[name])):
            target = path / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / name, target)
        # Not a copy, because tests must not use a remote of this repository.
        (path / ".dvc/config").write_text("[core]\n    analytics = false\n    check_update = false\n")
        project = cls(path)
        project.set(**{"threads": THREADS} | params)
        project.init()
        for name in (name for name in given if given[name]):
            stand_in = path / name if (ROOT / name).is_file() else path / name / "stand-in"
            stand_in.parent.mkdir(parents=True, exist_ok=True)
            stand_in.touch()
            project.dvc_ok("add", "--quiet", name)
        project.commit()
        return project

    def copy(self, path: Path) -> "Project":
        """A copy of this project in its current state, including cache and outputs."""
        path.parent.mkdir(parents=True, exist_ok=True)
        # Takes a fifth of the processor time of shutil.copytree.
        subprocess.run(["cp", "--archive", self.path, path], check=True)
        return Project(path)

    def clone(self, folder: Path, *options: str) -> "Project":
        """A clone with git, without data."""
        self.git("clone", "--quiet", *options, ".", str(folder))
        return Project(folder)

    def init(self) -> None:
        self.git("init", "--quiet", "--template=", "--initial-branch", "main")

    def make_toy(self) -> None:
        """Replace the stages after check by toy stages that only write their outputs."""
        for stage in ("fetch", "train", "evaluate"):
            shutil.copy(TOY_STAGE, self.path / f"stages/{stage}.py")
        # Stage check looks for them there.
        self.append(
            "stages/fetch.py", f"\nWRITERS = {dict.fromkeys(get_args(Params.model_fields['dataset'].annotation))}\n"
        )
        # It cannot rehearse toy stages.
        self.edit("stages/check.py", "not REHEARSED.isdisjoint(run.changed)", "False")

    def run(self, *command: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=self.path, env={**self.env, **env}, text=True, capture_output=True, timeout=300, check=False
        )

    def dvc(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run the real command in a fork of this process."""
        return self.run_forked(lambda: dvc_main(arguments), env)

    def here(
        self, stage: str, main: Callable[[Run], ReceiptFields] | None = None, /, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a stage in this process, with the code of this repository or another main function: the cheapest way."""
        other = patch.object(unused, "import_module", lambda _: SimpleNamespace(main=main)) if main else nullcontext()
        with chdir(self.path), patch.dict(os.environ, env), other:
            return called(run_stage, stage)

    def forked_stage(self, name: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a stage with the project's own code in a fork of this process, which has imported the libraries."""
        return self.run_forked(lambda: run_own_stage(name), env)

    def computing_stage(self, name: str) -> subprocess.CompletedProcess[str]:
        """The same for a stage that may compute, which a fork of this process cannot do after this one has computed."""
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__, "pytorch_lightning", "matplotlib.pyplot"])
        with ProcessPoolExecutor(1, context) as pool:
            return pool.submit(self.forked_stage, name).result()

    def run_forked(self, run: Callable[[], int], env: dict[str, str]) -> subprocess.CompletedProcess[str]:
        """Call a function in this project, in a fork of this process."""
        with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr:
            process = self._fork(run, stdout, stderr, env)
            try:
                code = process.wait(300)
            finally:
                self.started.remove(process)
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            for file in (stdout, stderr):
                file.seek(0)
            return subprocess.CompletedProcess((), code, stdout.read(), stderr.read())

    def start_repro(self, *arguments: str, **env: str) -> psutil.Process:
        """Start dvc repro in a fork that can be observed while it runs; both streams go to a file."""
        with (self.path / "logs.txt").open("w") as output:
            return self._fork(lambda: dvc_main(("repro", *arguments)), output, output, env)

    def start_stage(self, name: str, **env: str) -> psutil.Process:
        """Start a stage in the same way."""
        with (self.path / "logs.txt").open("w") as output:
            return self._fork(lambda: run_stage(name), output, output, env)

    def _fork(self, run: Callable[[], int], stdout: IO[str], stderr: IO[str], env: dict[str, str]) -> psutil.Process:
        """Call a function in a separate process, which does not have to repeat imports."""
        pid = os.fork()
        if pid:
            # Both processes set the group, so that it exists before either continues.
            with suppress(OSError):
                os.setpgid(pid, pid)
            self.started.append(psutil.Process(pid))
            return self.started[-1]
        code = 1
        try:
            os.setpgid(0, 0)
            # The garbage collector can ignore imports of the tests.
            gc.freeze()
            os.chdir(self.path)
            os.environ.clear()
            os.environ.update({**self.env, **env})
            for file, number in ((stdout, 1), (stderr, 2)):
                os.dup2(file.fileno(), number)
            sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
            code = run()
        except Exception:
            # As Python would at the end of a process.
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def dvc_ok(self, *arguments: str) -> str:
        """Run a command that must succeed, and return its standard output."""
        done = self.dvc(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def repro(self, *arguments: str, **env: str) -> str:
        """Run dvc repro, which must succeed, and return its output."""
        done = self.dvc("repro", *arguments, **env)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def make(self) -> None:
        """Run all stages in this process and let dvc lock the results: a `dvc repro` without repeated imports."""
        for stage in self.read_yaml("dvc.yaml")["stages"]:
            with chdir(self.path):
                assert run_stage(stage) == 0
            self.dvc_ok("commit", "--force", stage)

    def stage(self, name: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run the command that DVC would run."""
        return self.run("sh", "-c", self.read_yaml("dvc.yaml")["stages"][name]["cmd"], **env)

    def start(self, *command: str, **env: str) -> subprocess.Popen[str]:
        """Start a process group; its output goes to a file, because it is not read while it runs."""
        with (self.path / "logs.txt").open("w") as output:
            process = subprocess.Popen(
                command,
                cwd=self.path,
                env={**self.env, **env},
                text=True,
                stdout=output,
                stderr=output,
                process_group=0,
            )
        self.started.append(process)
        return process

    def clean_up(self) -> None:
        """Kill the groups of all started processes; a failed test may leave some running."""
        for process in self.started:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def hold(self, stage: str) -> None:
        """Make a toy stage wait after writing its outputs."""
        (self.path / f"logs/{stage}.hold").touch()

    def release(self, stage: str) -> None:
        """Let the toy stage end."""
        (self.path / f"logs/{stage}.hold").unlink()

    def output(self) -> str:
        """Output of the last started process so far."""
        return (self.path / "logs.txt").read_text()

    def git(self, *arguments: str) -> str:
        done = self.run("git", *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def dvc_ref(self, name: str) -> str:
        """The git reference of an experiment."""
        (reference,) = self.git("for-each-ref", "--format=%(refname)", f"refs/exps/**/{name}").split()
        return reference

    def commit(self) -> None:
        self.git("add", "--all", "--", ".", ":!logs.txt")
        self.git("commit", "--quiet", "--allow-empty", "--message", "state")

    def set(self, **params: Any) -> None:
        yaml, file = YAML(), self.path / "params.yaml"
        content = yaml.load(file)
        yaml.dump({**content, **params}, file)

    def edit(self, path: str, old: str, new: str) -> None:
        text = (self.path / path).read_text()
        assert text.count(old) == 1
        (self.path / path).write_text(text.replace(old, new))

    def append(self, path: str, text: str) -> None:
        with (self.path / path).open("a") as file:
            file.write(text)

    def read_yaml(self, path: str) -> dict[str, Any]:
        return YAML(typ="safe").load(self.path / path)

    def lock(self) -> dict[str, Any]:
        return self.read_yaml("dvc.lock")["stages"]

    def outs(self) -> dict[str, str]:
        """Hash of every output in dvc.lock, by path."""
        return {out["path"]: out["md5"] for stage in self.lock().values() for out in stage.get("outs", [])}

    def cached(self, md5: str) -> Path:
        """The object of DVC's cache with this hash."""
        return self.path / ".dvc/cache/files/md5" / md5[:2] / md5[2:]

    def results(self) -> dict[str, bytes]:
        """Content of every output of training and evaluation."""
        folders = ("models", "metrics", "plots")
        files = (path for folder in folders for path in (self.path / folder).rglob("*") if path.is_file())
        return {str(path.relative_to(self.path)): path.read_bytes() for path in files}

    def running(self, stage: str) -> psutil.Process:
        """The process that runs a stage under a `dvc` started here, as soon as it has locked the stage."""
        return wait_for(lambda: self._holder(stage), f"a running stage {stage}")

    def _holder(self, stage: str) -> psutil.Process | None:
        # The lock file may contain the ID of an earlier holder, which the system may have reused.
        with suppress(FileNotFoundError, ValueError, psutil.Error):
            process = psutil.Process(int((self.path / f"logs/{stage}.lock").read_text()))
            if process.cmdline()[-2:] == ["stages/__main__.py", stage] and Path(process.cwd()) == self.path:
                return process
        return None


def _given() -> dict[str, bool]:
    """What stages read besides `CODE` and none writes, and whether DVC tracks it: one's own data.

    Of what DVC tracks, which may be large or not here, a project has a stand-in: no test reads it.
    """
    with chdir(ROOT):
        declared = read_stages().values()
    known = (*CODE, *(out for stage in declared for out in stage.outs))
    given = sorted({dep for stage in declared for dep in stage.deps if not is_within(dep, known)})
    return {dep: any((ROOT / f"{place}.dvc").exists() for place in (dep, *Path(dep).parents)) for dep in given}


def make_folder_project(path: Path) -> Project:
    """Another project with a single stage, which writes a folder."""
    path.mkdir()
    project = Project(path)
    (path / "given").write_text("given\n")
    (path / "dvc.yaml").write_text(
        "stages:\n"
        "  make:\n"
        "    cmd: mkdir -p made/deep && cp given made/one && cat given given > made/deep/two\n"
        "    deps: [given]\n"
        "    outs: [made]\n"
    )
    project.init()
    project.dvc_ok("init", "--quiet")
    project.repro()
    project.commit()
    return project


def dvc_main(arguments: Sequence[str]) -> int:
    """Run the command `dvc` in this process."""
    # Its handlers still write to what stdout was when it was imported.
    for name in ("dvc", "dvc_objects", "dvc_data"):
        logging.getLogger(name).handlers.clear()
    dvc.logger.setup()
    return dvc.cli.main(list(arguments))


def called(main: Callable[..., int], *arguments: Any) -> subprocess.CompletedProcess[str]:
    """Call the main function of a command in this process."""
    stdout, stderr = io.StringIO(), io.StringIO()
    with redirect_stdout(stdout), redirect_stderr(stderr):
        code = main(*arguments)
    return subprocess.CompletedProcess((), code, stdout.getvalue(), stderr.getvalue())


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """The one line with which a command fails."""
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stdout + done.stderr
    return done.stderr


def is_gone(process: psutil.Process) -> bool:
    """Whether a process has ended, even if its parent has not reaped it."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_for(condition: Callable[[], Any], what: str, seconds: float = DEADLINE) -> Any:
    """Wait for a true value of the condition, and return it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.02)
    raise AssertionError(f"waited {seconds} s in vain for {what}")


def shared(factory: pytest.TempPathFactory, name: str, build: Callable[[Path], object]) -> Project:
    """A project that is built by the first of several test processes and shared by all."""
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / f"faults-{name}"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "built").exists():
            build(folder / "project")
            (folder / "built").touch()
    return Project(folder / "project")


def run_stage(stage: str) -> int:
    """Run a stage under its guard in this process and the current directory; no process starts."""
    # Before the guard does it, which hides packages from a stage that tests have imported in part.
    with suppress(ModuleNotFoundError):
        import_module(f"stages.{stage}")
    # A stage sets variables for its own process, some of which a checkpoint is stamped with.
    with patch.dict(os.environ):
        for name in SET_BY_TRAINING:
            os.environ.pop(name, None)
        return stages.__main__.main(stage)


def run_own_stage(stage: str) -> int:
    """Run a stage with the code of the current directory in this process, which may have imported other code."""
    for name in [name for name in sys.modules if name.partition(".")[0] in ("src", "stages")]:
        del sys.modules[name]
    script = run_path("stages/__main__.py")
    sys.meta_path.insert(0, script["ProjectFinder"]())
    return script["main"](stage)
