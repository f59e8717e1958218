"""Runs the report: `python -m src.report BASE`."""

import sys
import traceback
from pathlib import Path

from src.core.signals import restore_signals

if __name__ == "__main__":
    restore_signals()
    try:
        from src.report.command import main
    except ImportError as error:
        # Exit code 1 would mean that the change is known to be worse, and an old verdict must not stay.
        if isinstance(error, ModuleNotFoundError):
            repair = "run `make report` once, or `pip install -r requirements-report.lock`"
            sys.stderr.write(f"report: could not tell: the package {error.name} is missing; {repair}\n")
        else:
            traceback.print_exc()
        for name in ("report.md", "report.html", "verdict.json"):
            Path("report", name).unlink(missing_ok=True)
        sys.exit(2)
    sys.exit(main())
