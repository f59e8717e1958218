"""Runs experiments side by side, each in a copy of the repository."""

import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dvc.config import Config

from src.core.errors import UserError
from src.sweep.copies import collect, make_copy, remove_all, remove_copy
from src.sweep.git import identity
from src.sweep.plan import Base
from src.sweep.processes import dvc, end_all, start
from src.sweep.progress import Progress
from src.sweep.records import Result, Run, read_result, references
from src.sweep.remote import Remote

LOGS = Path("logs/sweep")
POLL_SECONDS = 0.2
PUSH_ATTEMPTS = 5


@dataclass
class Outcome:
    """How the runs ended, by name.

    Attributes:
        done: Those that ran here.
        failed: Why, and where the log is.
        elsewhere: What other clones do with them.
        stopped: Why the last of them were not begun; empty if all were.
    """

    done: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    elsewhere: dict[str, str] = field(default_factory=dict)
    stopped: str = ""


@dataclass
class Job:
    """A run under way.

    Attributes:
        run: What runs.
        copy: The folder in which it runs.
        process: `dvc exp run`, or `dvc exp push` after it.
        pushes: Number of attempts to push.
        result: What the run has given, once it is here.
    """

    run: Run
    copy: Path
    process: "subprocess.Popen[bytes]"
    pushes: int = 0
    result: Result | None = None


class Runner:
    """Runs what is missing. One thread does it all, so a signal finds no other at work."""

    def __init__(self, base: Base, workers: int, progress: Progress, remote: Remote | None = None) -> None:
        """Prepare to run.

        Args:
            base: The commit to run.
            workers: How many experiments run at once.
            progress: Shows how far they are.
            remote: Where claims are made and results are pushed.

        Raises:
            UserError: If git does not know who makes commits.
        """
        self.base, self.workers, self.progress, self.remote = base, workers, progress, remote
        self.outcome = Outcome()
        self.jobs: list[Job] = []
        self.env = environment(base.root, workers)

    def run(self, runs: Sequence[Run]) -> Outcome:
        """Run experiments until none is left; one that fails leaves the others alone.

        A remote that cannot be reached any more lets those under way go on to their end, and no other begin.
        """
        waiting = deque(runs)
        remove_all(self.base.root)
        try:
            while waiting or self.jobs:
                while waiting and len(self.jobs) < self.workers:
                    try:
                        self._begin(waiting[0])
                        waiting.popleft()
                    except UserError as error:
                        self.outcome.stopped = f"{error}; runs not begun: {len(waiting)}"
                        self.progress.stop(waiting, self.outcome.stopped)
                        waiting.clear()
                for job in [job for job in self.jobs if job.process.poll() is not None]:
                    self.jobs.remove(job)
                    self._go_on(job)
                if self.remote:
                    self.remote.renew()
                self.progress.update([(job.run, job.copy) for job in self.jobs])
                time.sleep(POLL_SECONDS)
        finally:
            end_all([job.process for job in self.jobs])
            remove_all(self.base.root)
        return self.outcome

    def _begin(self, run: Run) -> None:
        """Begin a run, unless another clone has it.

        Raises:
            UserError: If no claim on it can be made.
        """
        if self.remote and (others := self.remote.claim(run.name)):
            self.outcome.elsewhere[run.name] = others
            self.progress.skip(run, others)
            return
        log = self._log(run)
        settings = [word for name, value in run.params.model_dump().items() for word in ("-S", f"{name}={value}")]
        command = dvc("exp", "run", "--name", run.name, *settings)
        try:
            log.unlink(missing_ok=True)
            copy = make_copy(self.base.root, self.base.commit, run.name)
            process = start(command, copy, log, {**self.env, "DVC_SITE_CACHE_DIR": str(copy / ".dvc/tmp/site")})
        except (UserError, OSError) as error:
            self._fail(run, f"could not be begun: {error}")
            return
        self.jobs.append(Job(run, copy, process))

    def _go_on(self, job: Job) -> None:
        """A job's process has ended: collect, push, or give up."""
        if job.result:
            self._pushed(job, job.result)
            return
        reference = self.base.reference(job.run.name)
        try:
            if job.process.returncode:
                raise UserError(f"dvc exp run ended with exit code {job.process.returncode}")
            job.result = read_result(job.copy, job.run, reference, self.base.code)
            collect(self.base.root, job.copy, reference)
        except UserError as error:
            self._fail(job.run, str(error))
            return
        finally:
            remove_copy(self.base.root, job.run.name)
        self.progress.finish(job.run, job.result)
        if self.remote:
            self._push(job, self.remote)
        else:
            self.outcome.done.append(job.run.name)

    def _push(self, job: Job, remote: Remote) -> None:
        job.pushes += 1
        command = push_command(self.base.root, remote.name, [job.run.name])
        try:
            job.process = start(command, self.base.root, self._log(job.run), self.env)
        except OSError as error:
            self._fail(job.run, f"is done, but could not be pushed to {remote.name}: {error}")
            return
        self.jobs.append(job)

    def _pushed(self, job: Job, result: Result) -> None:
        """Check whether the remote has it, even if the push failed: another clone may have pushed it first."""
        assert self.remote
        try:
            stored = self.remote.commit(self.base.reference(job.run.name))
        except UserError:
            stored = None
        if stored and (stored != result.commit or not job.process.returncode):
            self.outcome.done.append(job.run.name)
            self.remote.release(job.run.name)
        elif job.pushes < PUSH_ATTEMPTS:
            self._push(job, self.remote)
        else:
            self._fail(job.run, f"is done, but could not be pushed to {self.remote.name}")

    def _fail(self, run: Run, reason: str) -> None:
        log = self._log(run).relative_to(self.base.root)
        self.outcome.failed[run.name] = f"{reason}; see {log}"
        self.progress.fail(run, self.outcome.failed[run.name])
        if self.remote:
            self.remote.forget(run.name)

    def _log(self, run: Run) -> Path:
        return self.base.root / LOGS / f"{run.name}.log"


def push_command(root: Path, remote: str, names: Sequence[str]) -> list[str]:
    """The command that pushes experiments, with their files if DVC has a remote to push these to."""
    has_storage = Config(dvc_dir=os.fspath(root / ".dvc"))["core"].get("remote")
    return dvc("--wait-for-lock", "exp", "push", *([] if has_storage else ["--no-cache"]), remote, *names)


def environment(root: Path, workers: int) -> dict[str, str]:
    """Environment variables of the processes.

    Raises:
        UserError: If git does not know who makes commits.
    """
    # Stages run `python`, which must be this one.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    # Threads that wait for each other by spinning would take the cores from the other trainings.
    patience = {"OMP_WAIT_POLICY": "PASSIVE"} if workers > 1 else {}
    return {**identity(root), **patience, "PATH": path}


def missing(base: Base, runs: Sequence[Run], remote: Remote | None) -> list[Run]:
    """The runs that neither this clone nor the remote has; what only one of them has is brought to the other.

    Raises:
        UserError: If the remote cannot be reached.
    """
    here = references(base.root)
    there = remote.experiments() if remote else {}
    if remote:
        remote.tidy()
        names = [run.name for run in runs]
        remote.fetch(there[name] for name in names if name in there and name not in here)
        if left := [name for name in names if name in here and name not in there]:
            env = environment(base.root, 1)
            log = base.root / LOGS / "push.log"
            if start(push_command(base.root, remote.name, left), base.root, log, env).wait():
                raise UserError(f"{len(left)} experiments could not be pushed to {remote.name}; see {log}")
    return [run for run in runs if run.name not in here and run.name not in there]
