"""A worker runs trials, each as a DVC experiment in a copy of the repository.

`python -m src.sweep` starts some: `python -m src.sweep.worker NAME`, with a Plan on standard input.
"""

import os
import pickle
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import optuna
from optuna.trial import TrialState

from src.core.errors import UserError
from src.core.signals import restore_signals
from src.sweep.command import LOGS, guarded, storage_url
from src.sweep.copies import Copy, collect, make_copy
from src.sweep.experiments import HISTORY, Run, read_history, read_result, references
from src.sweep.git import GitError, identity
from src.sweep.processes import dvc, end, start
from src.sweep.remote import Remote
from src.sweep.study import PROBLEM, TRAINED, Plan, Study

POLL_SECONDS, WAIT_SECONDS = 0.2, 1.0


class Worker:
    """Runs the trials of a study, one after another."""

    def __init__(self, plan: Plan, study: Study, name: str) -> None:
        """Prepare.

        Args:
            plan: What is run.
            study: Where trials wait.
            name: The worker's name in the study.
        """
        self.plan, self.study, self.name, self.root = plan, study, name, plan.base.root
        # Stages run `python`, which must be this one.
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
        self.env = {**identity(self.root), "PATH": path}
        self.remote = Remote(self.root, plan.remote) if plan.remote else None

    def work(self) -> None:
        """Run trials until all have ended. A worker waits while others run: one of them may die.

        Raises:
            UserError: If the git remote cannot be read, so that nobody knows what was run.
        """
        while True:
            if trial := self.study.take(self.name):
                with self.study.beating(trial):
                    self._run(trial)
            elif self.study.trials(TrialState.RUNNING):
                time.sleep(WAIT_SECONDS)
            else:
                return

    def _run(self, trial: optuna.Trial) -> None:
        run = self.plan.base.run({**self.plan.space.common, **trial.params})
        try:
            while not self.study.claim(trial, run.name):
                time.sleep(WAIT_SECONDS)
            there = self.remote.experiments() if self.remote else {}
        except BaseException:
            self.study.give_back(self.name, died=False)
            raise
        try:
            value = self._value(trial, run, there)
        except optuna.TrialPruned:
            self.study.tell(trial, TrialState.PRUNED)
        except (UserError, OSError) as error:
            trial.set_user_attr(PROBLEM, f"{error}; see {LOGS / run.name}.log")
            self.study.tell(trial, TrialState.FAIL)
        except BaseException:
            # A signal: the trial goes on elsewhere, or when the sweep is run again.
            self.study.give_back(self.name, died=False)
            raise
        else:
            self.study.tell(trial, TrialState.COMPLETE, value)

    def _value(self, trial: optuna.Trial, run: Run, there: Mapping[str, str]) -> float:
        """What the run is compared by; it trains only if nobody knows."""
        twin, here = self.study.twin(run.name), references(self.root)
        if self.remote and run.name in there and run.name not in here:
            self.remote.fetch([there[run.name]])
            here = references(self.root)
        if run.name in here:
            result = read_result(self.root, run, here[run.name], self.plan.base.code)
            _report(trial, result.history)
            score = result.score
        elif twin:
            _report(trial, twin.intermediate_values)
            if twin.state == TrialState.PRUNED:
                raise optuna.TrialPruned
            return twin.values[0]
        else:
            score = self._train(trial, run)
        if self.remote and run.name not in there:
            try:
                self._push(run, self.remote)
            except (GitError, OSError) as error:
                # It is kept, and pushed when the sweep is run again.
                trial.set_user_attr(PROBLEM, f"is done, but could not be pushed to {self.remote.name}: {error}")
        return score

    def _train(self, trial: optuna.Trial, run: Run) -> float:
        log, reference = self._log(run), self.plan.base.reference(run.name)
        settings = [word for name, value in run.params.items() for word in ("-S", f"{name}={value}")]
        log.unlink(missing_ok=True)
        copy = make_copy(self.root, self.plan.base.commit, run.name)
        try:
            site = {"DVC_SITE_CACHE_DIR": os.fspath(copy.top / ".dvc-site")}
            process = start(dvc("exp", "run", "--name", run.name, *settings), copy.project, log, {**self.env, **site})
            try:
                self._watch(trial, process, copy)
            finally:
                end(process)
            if process.returncode:
                raise UserError(f"dvc exp run ended with exit code {process.returncode}")
            result = read_result(copy.project, run, reference, self.plan.base.code)
            collect(self.root, copy, reference)
        finally:
            copy.remove()
        trial.set_user_attr(TRAINED, True)
        return result.score

    def _watch(self, trial: optuna.Trial, process: "subprocess.Popen[bytes]", copy: Copy) -> None:
        """Report epochs until the process ends.

        Raises:
            optuna.TrialPruned: If the trial is not worth going on.
        """
        history = copy.project / HISTORY
        committed, reported = _stamp(history), 0
        running = True
        while running:
            running = process.poll() is None
            # The commit's file stays until the training writes its own.
            epochs = _read(history) if _stamp(history) != committed else {}
            new = {step: value for step, value in epochs.items() if step > reported}
            _report(trial, new)
            if new and running and trial.should_prune():
                raise optuna.TrialPruned
            reported = max(new, default=reported)
            time.sleep(POLL_SECONDS if running else 0)

    def _push(self, run: Run, remote: Remote) -> None:
        process = start(dvc(*remote.push_words([run.name])), self.root, self._log(run), self.env)
        try:
            process.wait()
        finally:
            end(process)
        # Another clone may have pushed it first.
        if process.returncode and run.name not in remote.experiments():
            raise GitError(f"dvc exp push ended with exit code {process.returncode}; see {LOGS / run.name}.log")

    def _log(self, run: Run) -> Path:
        return self.root / LOGS / f"{run.name}.log"


def main() -> int:
    """Run trials until none is left; returns the exit code."""

    def run() -> int:
        plan: Plan = pickle.load(sys.stdin.buffer)
        Worker(plan, Study(plan, storage_url(plan.base.root)), sys.argv[1]).work()
        return 0

    return guarded("sweep", run)


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        state = path.stat()
    except FileNotFoundError:
        return None
    return state.st_ino, state.st_mtime_ns


def _read(path: Path) -> dict[int, float]:
    try:
        return read_history(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}


def _report(trial: optuna.Trial, epochs: Mapping[int, float]) -> None:
    """Tell the study what a trial, or one like it, has reached after each epoch."""
    for step, value in epochs.items():
        trial.report(value, step)


if __name__ == "__main__":
    restore_signals()
    sys.exit(main())
