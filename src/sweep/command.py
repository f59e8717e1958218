"""Shared by the commands that run experiments: their options, their errors, and running what is missing."""

import argparse
import os
import random
import sys
from collections.abc import Callable, Sequence

from rich.console import Console

from src.core.errors import UserError
from src.guard.explain import explain
from src.guard.gpus import usable_gpus
from src.guard.lock import locked
from src.guard.signals import ending_on_signals
from src.mnist.model.accelerator import CHOICE
from src.sweep.git import forget_repository, identity
from src.sweep.plan import Base, check_committed
from src.sweep.progress import Progress
from src.sweep.records import Run
from src.sweep.remote import Remote
from src.sweep.runner import LOGS, Outcome, Runner, missing

STOPPED = "stopped; run it again to resume"
LOCKED = "is running experiments in this clone; wait for it, or use another clone"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that these commands share."""
    parser.add_argument("--workers", type=int, help="experiments at once (the number of GPUs, else of pairs of cores)")
    parser.add_argument("--remote", help="a git remote to share the runs with other clones and push results to")


def guarded(command: str, run: Callable[[], int]) -> int:
    """Run a command; expected errors are one line, and a signal ends it with what it has started."""
    forget_repository()
    with ending_on_signals(f"{command}: {STOPPED}") as received:
        try:
            return run()
        except UserError as error:
            return _fail(f"{command}: {error}")
        except OSError as error:
            if not (advice := explain(error)):
                raise
            return _fail(f"{command}: {advice}")
        except SystemExit:
            if received:
                _fail(f"{command}: {STOPPED}")
            raise


def run_missing(
    base: Base, runs: Sequence[Run], varied: Sequence[str], workers: int | None, remote_name: str | None
) -> int:
    """Run those experiments that do not exist yet.

    Args:
        base: The commit to run.
        runs: What should exist afterwards.
        varied: Names of the params to tell the runs apart by.
        workers: How many run at once; None: as many as fit.
        remote_name: A git remote, or None to work alone.

    Returns:
        0 if no run failed, else 1.

    Raises:
        UserError: If something is wrong beforehand.
    """
    workers = fitting_workers(base.params.threads) if workers is None else workers
    if workers < 1:
        raise UserError(f"--workers: expected at least 1, got {workers}")
    check_committed(base)
    console = Console()
    with locked(base.root / LOGS / "lock", LOCKED):
        remote = Remote(base.root, remote_name, identity(base.root)) if remote_name else None
        left = missing(base, runs, remote)
        workers = min(workers, len(left))
        console.print(f"{len(runs)} runs: {len(runs) - len(left)} exist, {len(left)} to run, {workers} at once")
        if remote:
            # Another order in each clone, so that they seldom want the same run.
            random.Random(remote.owner).shuffle(left)
        with Progress(left, varied, workers, console) as progress:
            outcome = Runner(base, workers, progress, remote).run(left)
        if remote and outcome.elsewhere and not outcome.stopped:
            there = remote.experiments()
            remote.fetch(there[name] for name in outcome.elsewhere if name in there)
            outcome.elsewhere = {name: others for name, others in outcome.elsewhere.items() if name not in there}
    return _conclude(outcome, len(runs), console)


def fitting_workers(threads: int) -> int:
    """One for each GPU; without any, as many as the cores have room for, each with this many threads."""
    gpus = 0 if os.environ.get(CHOICE) == "cpu" else len(usable_gpus(os.environ, count=0))
    return max(1, gpus or len(os.sched_getaffinity(0)) // threads)


def _conclude(outcome: Outcome, count: int, console: Console) -> int:
    lines = [f"{name}: {reason}" for name, reason in outcome.failed.items()]
    lines += [f"{name}: {others}; run this again to check that it ends" for name, others in outcome.elsewhere.items()]
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True, markup=False)
    if outcome.failed:
        console.print(f"{len(outcome.failed)} of {count} failed; run this again to retry them")
    if outcome.stopped:
        console.print(f"{outcome.stopped}; run this again to continue", highlight=False, soft_wrap=True, markup=False)
    return 1 if outcome.failed or outcome.stopped else 0


def _fail(line: str) -> int:
    print(line, file=sys.stderr)
    return 1
