"""A worker: runs trials one after another, each as a DVC experiment in a copy of the repository."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import optuna
from dvc.config import Config
from optuna.trial import TrialState

from src.core.errors import UserError
from src.sweep.experiments import HISTORY, Base, by_name, read_history, read_result, references
from src.sweep.git import copied, fetch, git
from src.sweep.study import EXPERIMENT, PROBLEM, TRAINED, UNFINISHED, Study

LOGS = Path("logs/sweep")
POLL_SECONDS, WAIT_SECONDS = 0.2, 1.0


class StoppedError(Exception):
    """The sweep is ending."""


@dataclass(frozen=True)
class Worker:
    """State shared by the workers of one clone, which are threads of one process."""

    base: Base
    # All params; trials override those that are drawn.
    common: Mapping[str, object]
    study: Study
    # Name of the clone in the study.
    clone: str
    remote: str | None
    stop: threading.Event

    def work(self) -> None:
        """Run trials until all have ended. An idle worker waits for the others, because one of them may die.

        Raises:
            UserError: If the git remote cannot be read, so that finished experiments are unknown.
            StoppedError: If the sweep is ending.
        """
        while self.study.trials(*UNFINISHED):
            pushed = self.pushed() if self.study.trials(TrialState.WAITING) else {}
            trial = self.study.take(self.clone)
            if trial is None:
                self._pause(WAIT_SECONDS)
                continue
            with self.study.beating(trial):
                self._run(trial, pushed)

    def pushed(self) -> dict[str, str]:
        """Reference of every experiment on the remote, by name; raises UserError if the remote cannot be read."""
        if not self.remote:
            return {}
        listed = git(self.base.root, "ls-remote", self.remote, "refs/exps/*").splitlines()
        return by_name([line.split("\t")[1] for line in listed])

    def push(self, names: Sequence[str], log: Path) -> None:
        """Push experiments, and their files if DVC has a remote; raises UserError if they do not arrive."""
        has_storage = Config(dvc_dir=os.fspath(self.base.root / ".dvc"))["core"].get("remote")
        here = references(self.base.root)
        # By reference, because a name is ambiguous if two clones made the experiment from different commits.
        pushed = [str(self.remote), *(here[name] for name in names)]
        words = ["--wait-for-lock", "exp", "push", *([] if has_storage else ["--no-cache"]), *pushed]
        with self._dvc(words, self.base.root, log) as process:
            while process.poll() is None:
                self._pause(POLL_SECONDS)
        if process.returncode:
            raise UserError(f"dvc exp push ended with exit code {process.returncode}; see {log}")

    def _run(self, trial: optuna.Trial, pushed: Mapping[str, str]) -> None:
        params = {**self.common, **trial.params}
        name = self.base.name(params)
        log = LOGS / f"{name}.log"
        trial.set_user_attr(EXPERIMENT, name)
        try:
            value = self._value(trial, name, params, log, pushed)
        except optuna.TrialPruned:
            self.study.tell(trial, TrialState.PRUNED)
        except (UserError, OSError) as error:
            trial.set_user_attr(PROBLEM, f"{error}; see {log}")
            self.study.tell(trial, TrialState.FAIL)
        else:
            self.study.tell(trial, TrialState.COMPLETE, value)

    def _value(
        self, trial: optuna.Trial, name: str, params: Mapping[str, object], log: Path, pushed: Mapping[str, str]
    ) -> float:
        """Return the run's score; train only if no experiment or earlier trial has it."""
        while (twin := self.study.twin(trial)) and not twin.state.is_finished():
            self._pause(WAIT_SECONDS)
        if name not in references(self.base.root):
            if name in pushed:
                fetch(self.base.root, str(self.remote), pushed[name])
            elif twin:
                self.study.report(trial, twin.intermediate_values)
                if twin.state == TrialState.PRUNED:
                    raise optuna.TrialPruned
                return twin.values[0]
            else:
                self._train(trial, name, params, log)
        result = read_result(self.base, references(self.base.root)[name])
        if result is None:
            raise UserError(f"{name}: was run with other params or code; `dvc exp remove {name}` removes it")
        self.study.report(trial, result.history)
        if self.remote and name not in pushed:
            try:
                self.push([name], log)
            except (UserError, OSError) as error:
                # The experiment is kept, and pushed at the end of this sweep or the next.
                trial.set_user_attr(PROBLEM, f"is done, but could not be pushed to {self.remote}: {error}")
        return result.score

    def _train(self, trial: optuna.Trial, name: str, params: Mapping[str, object], log: Path) -> None:
        """Run an experiment in a copy of the repository, and fetch it."""
        settings = param_options({key: value for key, value in params.items() if value != self.base.params[key]})
        (self.base.root / log).unlink(missing_ok=True)
        with copied(self.base.root, self.base.commit, name) as copy:
            with self._dvc(["exp", "run", "--name", name, *settings], copy, log) as process:
                self._watch(trial, process, copy / HISTORY)
            # If dvc fails after creating the experiment, the trial is still done.
            if name not in references(copy):
                raise UserError(f"dvc exp run ended with exit code {process.returncode} and made no experiment")
            # Another worker that was considered dead may have finished first.
            if name not in references(self.base.root):
                fetch(self.base.root, git(copy, "rev-parse", "--absolute-git-dir"), self.base.reference(name))
        trial.set_user_attr(TRAINED, True)

    def _watch(self, trial: optuna.Trial, process: "subprocess.Popen[bytes]", history: Path) -> None:
        """Report epochs until the process ends; raises TrialPruned if the trial is not promising."""
        # The file is the commit's until training writes its own.
        seen = _read(history)
        while process.poll() is None:
            if (text := _read(history)) != seen:
                seen = text
                if self.study.report(trial, read_history(text)) and trial.should_prune():
                    raise optuna.TrialPruned
            self._pause(POLL_SECONDS)

    @contextmanager
    def _dvc(self, words: Sequence[str], folder: Path, log: Path) -> "Iterator[subprocess.Popen[bytes]]":
        """Run dvc in its own process group, which is killed on exit; append its output to a log.

        It needs no cleanup, because its copy of the repository is removed.
        """
        # The kernel kills it when the thread that started it ends, however this process ends.
        command = ["setpriv", "--pdeathsig", "KILL", sys.executable, "-P", "-m", "dvc", *words]
        # Stages run `python`, which must be this interpreter.
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
        site = {"DVC_SITE_CACHE_DIR": os.fspath(folder / ".dvc/tmp/site")} if folder != self.base.root else {}
        with (self.base.root / log).open("ab") as output:
            output.write(f"$ dvc {' '.join(words)}\n".encode())
            output.flush()
            process = subprocess.Popen(
                command,
                cwd=folder,
                env={**os.environ, "PATH": path, **site},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                process_group=0,
            )
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _pause(self, seconds: float) -> None:
        if self.stop.wait(seconds):
            raise StoppedError


def param_options(params: Mapping[str, object]) -> list[str]:
    """Options of `dvc exp run` that set some params, as JSON: its grammar takes null, quoted text and lists as such."""
    return [word for key, value in params.items() for word in ("-S", f"{key}={json.dumps(value, ensure_ascii=False)}")]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
