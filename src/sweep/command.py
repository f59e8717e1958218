"""What the commands of this folder share: options, and how they end."""

import argparse
import sys
from collections.abc import Callable

import sqlalchemy
from dvc.exceptions import DvcException
from optuna.exceptions import StorageInternalError

from src.core.errors import UserError, one_line
from src.guard.explain import explain
from src.guard.signals import ending_on_signals
from src.sweep.git import forget_repository
from src.sweep.study import HEARTBEAT_SECONDS, STORAGE


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that these commands share."""
    parser.add_argument("--workers", type=int, help="trials at once (the number of GPUs, else of cores by threads)")
    parser.add_argument("--remote", help="a git remote to get experiments from and to push them to")
    parser.add_argument(
        "--heartbeat",
        type=int,
        default=HEARTBEAT_SECONDS,
        help="seconds between signs of life; a worker that gives none for six times as long is dead (%(default)s)",
    )


def guarded(command: str, run: Callable[[], int]) -> int:
    """Run a command; expected errors are one line, and a signal ends it with what it has started."""
    stopped = f"{command}: stopped; run it again to resume"
    with ending_on_signals(stopped):
        try:
            forget_repository()
            return run()
        except (UserError, DvcException) as error:
            return _fail(f"{command}: {one_line(error)}")
        except (StorageInternalError, sqlalchemy.exc.OperationalError) as error:
            return _fail(f"{command}: {STORAGE}: the database cannot be used: {one_line(error)}")
        except OSError as error:
            if not (advice := explain(error)):
                raise
            return _fail(f"{command}: {advice}")
        except SystemExit:
            _fail(stopped)
            raise


def _fail(line: str) -> int:
    print(line, file=sys.stderr)
    return 1
