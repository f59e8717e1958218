"""A worker of a sweep: `python -m src.sweep` starts some, and each reads its Plan from standard input."""

import os
import pickle
import sys
from pathlib import Path

from src.core.signals import restore_signals
from src.sweep.command import guarded, storage_url
from src.sweep.git import identity
from src.sweep.study import Plan, Study
from src.sweep.trial import Worker


def main() -> int:
    """Run trials until none is left; returns the exit code."""

    def run() -> int:
        plan: Plan = pickle.load(sys.stdin.buffer)
        Worker(plan, Study(plan, storage_url(plan.base.root)), sys.argv[1], environment(plan.base.root)).work()
        return 0

    return guarded("sweep", run)


def environment(root: Path) -> dict[str, str]:
    """Environment variables of the processes that a worker starts."""
    # Stages run `python`, which must be this one.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    # Threads that wait for each other by spinning would take the cores from the other trainings.
    return {"OMP_WAIT_POLICY": "PASSIVE", **identity(root), "PATH": path}


if __name__ == "__main__":
    restore_signals()
    sys.exit(main())
