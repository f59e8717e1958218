"""The workers of one clone, and the setup before they start."""

import argparse
import hashlib
import json
import os
import platform
import shutil
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from optuna.distributions import distribution_to_json
from optuna.trial import TrialState
from rich.console import Console

from src.core.errors import UserError
from src.guard.gpus import visible_gpus
from src.guard.lock import locked
from src.sweep.experiments import Base, check_committed, references
from src.sweep.git import COPIES, identity
from src.sweep.progress import counts, follow, say
from src.sweep.spec import Space
from src.sweep.study import EXPERIMENT, HEARTBEAT_SECONDS, PROBLEM, WORKER, Study, storage_url, told_in_a_line
from src.sweep.worker import LOGS, Worker

LOCKED = "is running a sweep in this clone; wait for it, or use another clone"
# All trainings of a clone share a folder that keeps 20 checkpoints.
MAX_WORKERS = 16


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a command that runs trials."""
    parser.add_argument("--workers", type=int, help="trials at once (default: one per GPU, or as the cores allow)")
    parser.add_argument("--remote", help="git remote to fetch experiments from and push them to")
    parser.add_argument(
        "--heartbeat",
        type=int,
        default=HEARTBEAT_SECONDS,
        help="seconds between heartbeats; a worker that misses six is dead (default: %(default)s)",
    )


def run_missing(base: Base, space: Space, arguments: argparse.Namespace) -> int:
    """Run the missing trials of a sweep.

    Args:
        base: The commit to run.
        space: The search space, and the trials that should exist afterwards.
        arguments: The options that `add_options` adds.

    Returns:
        Exit code: 0 if no trial failed, else 1.
    """
    for name, least, most in (("workers", 1, MAX_WORKERS), ("heartbeat", 1, 3600)):
        value = getattr(arguments, name)
        if value is not None and not least <= value <= most:
            raise UserError(f"--{name}: expected {least} to {most}, got {value}")
    check_committed(base)
    identity(base.root)
    with told_in_a_line(), locked(base.root / LOGS / "lock", LOCKED):
        study = Study(storage_url(base.root), study_name(base, space), space, arguments.heartbeat)
        clone = clone_name(base.root)
        worker = Worker(base, space.common, study, clone, arguments.remote, threading.Event())
        # A remote that cannot be read is refused before anything starts.
        worker.pushed()
        # This process holds the clone's lock, so earlier workers of this clone are dead.
        study.give_back(clone)
        shutil.rmtree(base.root / COPIES, ignore_errors=True)
        study.fill(slots(base, space))
        return run(worker, arguments.workers or fitting(space.common.get("threads", 1)), space.spec.varied)


def study_name(base: Base, space: Space) -> str:
    """Name of the study: the same in every clone for the same search space and the same code."""
    fixed = {name: value for name, value in space.common.items() if name not in space.drawn}
    drawn = {name: distribution_to_json(distribution) for name, distribution in space.drawn.items()}
    text = json.dumps([base.code, fixed, drawn], sort_keys=True)
    return f"{Path(space.where).stem}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def clone_name(root: Path) -> str:
    """Name of this clone: the same for every sweep in it, and different in a copy of it or on another machine."""
    return f"{platform.node()}:{root}:{(root / '.dvc').stat().st_ino}"


def slots(base: Base, space: Space) -> dict[str, dict[str, object]]:
    """The params of each requested trial by slot; empty if the sampler chooses them."""
    if trials := space.spec.trials:
        return {str(number): {} for number in range(trials)}
    return {base.name(params): {name: params[name] for name in space.drawn} for params in space.grid}


def fitting(threads: int) -> int:
    """Number of trials that fit on this machine: one per GPU, which the stages choose; without GPUs, by cores."""
    gpus = [] if os.environ.get("PL_TRAINER_ACCELERATOR") == "cpu" else visible_gpus(os.environ)
    return min(MAX_WORKERS, len(gpus) or len(os.sched_getaffinity(0)) // threads or 1)


def run(worker: Worker, count: int, varied: Sequence[str]) -> int:
    """Run trials with `count` workers of one clone until none is left, and return the exit code."""
    study, console = worker.study, Console()
    say(console, f"study {study.name}: {counts(study.trials())}; workers: {count}")
    with ThreadPoolExecutor(count) as pool:
        try:
            ending = [pool.submit(worker.work) for _ in range(count)]
            follow(study, varied, console, lambda: all(future.done() for future in ending))
        except BaseException:
            worker.stop.set()
            raise
        finally:
            study.give_back(worker.clone)
    counted = ((len(study.failed()), "failed"), (len(study.trials(TrialState.WAITING)), "not run"))
    problems = [f"{number} {word}" for number, word in counted if number]
    if problems:
        say(console, f"{', '.join(problems)}; run this again to continue")
    for future in ending:
        future.result()
    return int(bool(problems)) | push_left(worker, console)


def push_left(worker: Worker, console: Console) -> int:
    """Push the study's experiments that this clone has and the remote lacks; returns 1 if that fails, else 0."""
    if not worker.remote:
        return 0
    here, pushed = references(worker.base.root), worker.pushed()
    known = [trial.user_attrs for trial in worker.study.trials(TrialState.COMPLETE)]
    # If only its files did not arrive, the remote has the experiment, but the trial of this clone has a problem.
    partly = {about[EXPERIMENT] for about in known if PROBLEM in about and about[WORKER] == worker.clone}
    if left := sorted(here.keys() & (partly | {about[EXPERIMENT] for about in known} - pushed.keys())):
        try:
            worker.push(left, LOGS / "push.log")
        except UserError as error:
            say(console, f"{len(left)} experiments could not be pushed: {error}; run this again to continue")
            return 1
    return 0
