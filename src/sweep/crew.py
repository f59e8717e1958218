"""The workers of one clone, and what they need before they begin."""

import argparse
import os
import pickle
import platform
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from optuna.trial import TrialState
from rich.console import Console

from src.core.errors import UserError
from src.guard.gpus import VISIBLE, visible_gpus
from src.guard.lock import locked
from src.sweep.command import LOGS, storage_url
from src.sweep.copies import remove_all
from src.sweep.experiments import Base, check_committed, references
from src.sweep.git import identity
from src.sweep.processes import dvc, end_with_parent, start
from src.sweep.progress import Progress, counts
from src.sweep.remote import Remote
from src.sweep.spec import Spec, check_settings
from src.sweep.study import Plan, Study, experiment_of, study_name

LOCKED = "is running a sweep in this clone; wait for it, or use another clone"
# Trainings of one clone share a folder that keeps 20 checkpoints.
MAX_WORKERS = 16
POLL_SECONDS = 0.5
# How long workers may take to end what they have started.
GRACE_SECONDS = 10.0


def run_missing(base: Base, spec: Spec, arguments: argparse.Namespace) -> int:
    """Run the trials that a spec asks for, as far as they are missing.

    Args:
        base: The commit to run.
        spec: What should exist afterwards.
        arguments: The options that `add_options` adds.

    Returns:
        0 if no trial failed, else 1.

    Raises:
        UserError: If something is wrong beforehand.
    """
    for name, least, most in (("workers", 1, MAX_WORKERS), ("heartbeat", 1, 3600)):
        value = getattr(arguments, name)
        if value is not None and not least <= value <= most:
            raise UserError(f"--{name}: expected {least} to {most}, got {value}")
    check_committed(base)
    identity(base.root)
    space = spec.space(check_settings(base.root, spec.settings(base.params), spec.where))
    plan = Plan(
        base, space, study_name(spec, base, space), spec.sampler, spec.pruner, arguments.remote, arguments.heartbeat
    )
    with locked(base.root / LOGS / "lock", LOCKED):
        study = Study(plan, storage_url(base.root))
        # This clone's lock is ours, so whoever worked here before is dead.
        study.give_back(f"{clone_name(base.root)}/", died=True)
        remove_all(base.root)
        study.fill(slots(plan, spec))
        if arguments.remote:
            push_left(base, study, Remote(base.root, arguments.remote))
        workers = fitting_workers(space.common) if arguments.workers is None else arguments.workers
        return Crew(plan, study, workers, spec.varied).run()


def slots(plan: Plan, spec: Spec) -> dict[str, dict[str, object]]:
    """The params of each trial that is wanted; empty where the sampler chooses."""
    if spec.trials is not None:
        return {str(number): {} for number in range(spec.trials)}
    drawn = plan.space.drawn
    return {plan.base.run(params).name: {name: params[name] for name in drawn} for params in plan.space.grid}


def push_left(base: Base, study: Study, remote: Remote) -> None:
    """Push the study's experiments that this clone has and the remote lacks: pushing them has failed before.

    Raises:
        UserError: If the remote cannot be reached.
    """
    of_study = {experiment_of(trial) for trial in study.trials(TrialState.COMPLETE)}
    there = remote.experiments()
    if left := sorted(name for name in references(base.root).keys() & of_study if name not in there):
        log = base.root / LOGS / "push.log"
        if start(dvc(*remote.push_words(left)), base.root, log, {}).wait():
            raise UserError(f"{len(left)} experiments could not be pushed to {remote.name}; see {log}")


def clone_name(root: Path) -> str:
    """The same for every sweep in this clone, and another one in a copy of it or on another machine."""
    return f"{platform.node()}:{root}:{(root / '.dvc').stat().st_ino}"


def fitting_workers(params: Mapping[str, Any]) -> int:
    """One for each GPU; without any, as many as the cores have room for, with the threads of a training each."""
    cores = len(os.sched_getaffinity(0)) // params.get("threads", 1)
    gpus = {gpu for gpu in gpus_of_workers(MAX_WORKERS, os.environ) if gpu}
    return len(gpus) or min(MAX_WORKERS, max(1, cores))


def gpus_of_workers(count: int, environ: Mapping[str, str]) -> list[str | None]:
    """The GPU of each worker, as CUDA_VISIBLE_DEVICES names it; None where trainings use none."""
    gpus = [] if environ.get("PL_TRAINER_ACCELERATOR") == "cpu" else visible_gpus(environ)
    return [gpus[number % len(gpus)] if gpus else None for number in range(count)]


class Crew:
    """The workers of one clone."""

    def __init__(self, plan: Plan, study: Study, workers: int, varied: Sequence[str]) -> None:
        """Prepare.

        Args:
            plan: What they run.
            study: Where trials wait.
            workers: How many, if there are as many trials.
            varied: Names of the params to tell trials apart by.
        """
        self.plan, self.study, self.varied = plan, study, varied
        waiting, elsewhere = (len(study.trials(state)) for state in (TrialState.WAITING, TrialState.RUNNING))
        # One waits while others run elsewhere: they may die.
        self.wanted = min(workers, max(waiting, 1)) if waiting or elsewhere else 0
        self.workers: dict[str, subprocess.Popen[bytes]] = {}
        self.codes: list[int] = []

    def run(self) -> int:
        """Let them work until no trial is left; returns the exit code."""
        with Progress(self.study, self.varied, Console()) as progress:
            progress.say(f"study {self.plan.study}: {counts(self.study.trials())}; {self.wanted} workers")
            try:
                for number, gpu in enumerate(gpus_of_workers(self.wanted, os.environ)):
                    self._start(f"{clone_name(self.plan.base.root)}/{number}/", gpu)
                while self.workers:
                    self._look()
                    progress.update()
                    time.sleep(POLL_SECONDS if self.workers else 0)
            finally:
                self._end()
            failed, left = len(self.study.failed()), len(self.study.trials(TrialState.WAITING))
            if failed or left or any(self.codes) or progress.has_problems:
                progress.say(f"{failed} failed, {left} are left; run this again to go on")
                return 1
        return 0

    def _start(self, name: str, gpu: str | None) -> None:
        worker = subprocess.Popen(
            [sys.executable, "-m", "src.sweep.worker", name],
            env={**os.environ, **({VISIBLE: gpu} if gpu else {})},
            stdin=subprocess.PIPE,
            process_group=0,
            preexec_fn=end_with_parent,
        )
        self.workers[name] = worker
        assert worker.stdin
        with suppress(BrokenPipeError), worker.stdin as stdin:
            pickle.dump(self.plan, stdin)

    def _look(self) -> None:
        """Note which workers have ended. The trial of one that was killed goes to another at once."""
        for name, worker in list(self.workers.items()):
            if (code := worker.poll()) is not None:
                del self.workers[name]
                self.codes.append(code)
                if code:
                    self.study.give_back(name, died=True)

    def _end(self) -> None:
        """End those that work, with what they have started."""
        for worker in self.workers.values():
            worker.terminate()
        for name, worker in self.workers.items():
            with suppress(subprocess.TimeoutExpired):
                worker.wait(GRACE_SECONDS)
            worker.kill()
            worker.wait()
            self.study.give_back(name, died=True)
