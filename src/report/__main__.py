"""Runs the report: `python -m src.report BASE`."""

import sys
import traceback
from contextlib import suppress
from pathlib import Path

from src.core.process import prepare_process

if __name__ == "__main__":
    prepare_process()
    code = 2
    try:
        from src.report.command import main

        code = main()
    except Exception as error:
        # Exit code 1 would mean that the change is known to be worse, and an old verdict must not stay.
        for name in ("report.md", "report.html", "verdict.json"):
            with suppress(OSError):
                Path("report", name).unlink()
        if isinstance(error, ModuleNotFoundError):
            install = "`python -m pip install --requirement requirements-report.lock` in a virtual environment"
            words = f"the package {error.name} is missing; run `source .venv/bin/activate`, or {install}"
            sys.stderr.write(f"report: could not tell: {words}\n")
        else:
            traceback.print_exc()
    sys.exit(code)
