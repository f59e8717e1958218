"""Error and signal handling shared by the commands of this folder."""

import sys
from collections.abc import Callable

from dvc.exceptions import DvcException

from src.core.errors import UserError, one_line
from src.guard.explain import explain
from src.guard.signals import ending_on_signals
from src.revision.git import find_root
from src.sweep.git import forget_repository


def guarded(command: str, run: Callable[[], int]) -> int:
    """Run a command; expected errors become one line, and a signal ends the command and its child processes."""
    stopped = f"{command}: stopped; run it again to resume"
    with ending_on_signals(stopped):
        try:
            # Fails with advice if git is missing, or refuses a repository of another user, unlike DVC.
            find_root()
            forget_repository()
            return run()
        except (UserError, DvcException) as error:
            return _fail(f"{command}: {one_line(error)}")
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
