"""What the commands that run experiments have in common."""

import argparse
import os
import random
import sys
from collections.abc import Callable, Sequence

from rich.console import Console

from src.core.errors import UserError
from src.experiments.git import forget_places, identity
from src.experiments.plan import Base, check_committed
from src.experiments.progress import Progress
from src.experiments.records import Run
from src.experiments.remote import Remote
from src.experiments.runner import Outcome, Runner, alone, missing
from src.guard.advice import advice_on
from src.guard.gpus import usable_gpus
from src.guard.signals import ending_on_signals
from src.model.accelerator import CHOICE

# Each training on a CPU computes with so many threads (src/model/determinism.py).
CPU_THREADS = 2
STOPPED = "stopped; run it again to go on where it was"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options that commands which run experiments have in common."""
    parser.add_argument("--workers", type=int, help="experiments at once (the number of GPUs, else of pairs of cores)")
    parser.add_argument("--remote", help="a git remote to share the runs with other clones and push results to")


def guarded(command: str, run: Callable[[], int]) -> int:
    """Run a command; expected errors are one line, and a signal ends it with what it has started."""
    forget_places()
    with ending_on_signals(f"{command}: {STOPPED}") as received:
        try:
            return run()
        except UserError as error:
            return _say(f"{command}: {error}")
        except OSError as error:
            if not (advice := advice_on(error)):
                raise
            return _say(f"{command}: {advice}")
        except SystemExit:
            if received:
                _say(f"{command}: {STOPPED}")
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
    workers = fitting_workers() if workers is None else workers
    if workers < 1:
        raise UserError(f"--workers: expected at least 1, got {workers}")
    check_committed(base)
    console = Console()
    with alone(base.root):
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


def fitting_workers() -> int:
    """One for each GPU; without any, one for each two cores, since a training has two threads."""
    gpus = 0 if os.environ.get(CHOICE) == "cpu" else len(usable_gpus(os.environ, count=0))
    return max(1, gpus or len(os.sched_getaffinity(0)) // CPU_THREADS)


def _conclude(outcome: Outcome, count: int, console: Console) -> int:
    lines = [f"{name}: {reason}" for name, reason in outcome.failed.items()]
    lines += [f"{name}: {others}; run this again to see that it ends" for name, others in outcome.elsewhere.items()]
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True, markup=False)
    if outcome.failed:
        console.print(f"{len(outcome.failed)} of {count} failed; run this again to retry them")
    if outcome.stopped:
        console.print(f"{outcome.stopped}; run this again to go on", highlight=False, soft_wrap=True, markup=False)
    return 1 if outcome.failed or outcome.stopped else 0


def _say(line: str) -> int:
    print(line, file=sys.stderr)
    return 1
