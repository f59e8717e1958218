"""Run the experiments of a sweep that are missing: `python -m src.sweep sweep.yaml`.

Run it again to continue after an interruption, to retry what failed, or after adding values to the spec.
"""

import argparse
import sys
from pathlib import Path

from src.core.signals import restore_signals
from src.revision.git import find_root
from src.sweep.command import add_options, guarded, run_missing
from src.sweep.plan import read_base
from src.sweep.spec import SPEC, read_sweep


def main(argv: list[str] | None = None) -> int:
    """Command line; returns 0 if no run failed, 1 if one did or something is wrong, 128 + number after a signal."""
    parser = argparse.ArgumentParser(prog="python -m src.sweep", description=__doc__)
    parser.add_argument("spec", nargs="?", type=Path, default=SPEC, help="the sweep (%(default)s)")
    add_options(parser)
    arguments = parser.parse_args(argv)

    def run() -> int:
        sweep = read_sweep(arguments.spec)
        base = read_base(find_root())
        return run_missing(base, base.runs(sweep), sweep.varied, arguments.workers, arguments.remote)

    return guarded("sweep", run)


if __name__ == "__main__":
    restore_signals()
    sys.exit(main())
