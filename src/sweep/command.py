"""What the commands of this folder share: options, errors, and where the study is."""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import sqlalchemy
from optuna.exceptions import StorageInternalError

from src.core.errors import UserError, one_line
from src.guard.explain import explain
from src.guard.signals import SIGNALS
from src.sweep.git import forget_repository
from src.sweep.study import HEARTBEAT_SECONDS

STOPPED = "stopped; run it again to resume"
# The variable's own name, so that `make sweep STORAGE=...` sets it; on a command line, others would see its password.
STORAGE = "STORAGE"
LOGS = Path("logs/sweep")
DATABASE = LOGS / "optuna.db"


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
    forget_repository()
    with _leaving_on_signals() as received:
        try:
            return run()
        except UserError as error:
            return _fail(f"{command}: {error}")
        except (StorageInternalError, sqlalchemy.exc.OperationalError) as error:
            return _fail(f"{command}: {STORAGE}: the database cannot be used: {one_line(error)}")
        except OSError as error:
            if not (advice := explain(error)):
                raise
            return _fail(f"{command}: {advice}")
        except SystemExit:
            if received:
                _fail(f"{command}: {STOPPED}")
            raise


def storage_url(root: Path) -> str:
    """URL of the study's database: the variable STORAGE, else a file of this clone."""
    if url := os.environ.get(STORAGE):
        return url
    return str(sqlalchemy.URL.create("sqlite", database=os.fspath(root / DATABASE)))


@contextmanager
def _leaving_on_signals() -> Iterator[list[int]]:
    """While active, the first signal raises SystemExit, and the others wait until what was started has ended.

    Unlike `src.guard.signals`, no thread ends the process meanwhile: trials have to be queued again.

    Yields:
        The signal received, if any.
    """
    received: list[int] = []

    def leave(number: int, _: FrameType | None) -> None:
        for other in caught:
            signal.signal(other, signal.SIG_IGN)
        received.append(number)
        sys.exit(128 + number)

    # A program started in the background of a script ignores Ctrl-C; one started by nohup ignores a closed terminal.
    caught = {number: signal.getsignal(number) for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN}
    for number in caught:
        signal.signal(number, leave)
    try:
        yield received
    finally:
        for number, handler in caught.items():
            signal.signal(number, handler)


def _fail(line: str) -> int:
    print(line, file=sys.stderr)
    return 1
