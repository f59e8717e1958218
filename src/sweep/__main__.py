"""Run the missing experiments of a sweep: `python -m src.sweep sweep.yaml`.

Run it again to resume after an interruption, to retry failed trials, or after adding values or trials. Run it in other
clones, with the same STORAGE, to share the trials.
"""

import argparse
import sys
from pathlib import Path

from src.core.process import prepare_process
from src.sweep.command import guarded
from src.sweep.crew import add_options, run_missing
from src.sweep.experiments import read_base
from src.sweep.spec import SPEC, read_space, read_spec


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns 0 if no trial failed, 1 after an error or a failed trial, 128 + signal number."""
    parser = argparse.ArgumentParser(prog="python -m src.sweep", description=__doc__)
    parser.add_argument("spec", nargs="?", type=Path, default=SPEC, help="file of the sweep (default: %(default)s)")
    add_options(parser)
    arguments = parser.parse_args(argv)

    def run() -> int:
        base = read_base()
        space = read_space(base, read_spec(arguments.spec), str(arguments.spec))
        return run_missing(base, space, arguments)

    return guarded("sweep", run)


if __name__ == "__main__":
    prepare_process()
    sys.exit(main())
