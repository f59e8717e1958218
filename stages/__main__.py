"""Runs one stage under its guard: `python -m stages train`."""

import sys
from collections.abc import Mapping
from importlib import import_module

from src.guard.guard import guarded
from src.guard.inputs import check_unchanged


def main(stage: str) -> int:
    """Run a stage of the pipeline in the current directory; returns the exit code."""

    def run(inputs: Mapping[str, str]) -> None:
        # Imported only now, when its inputs are noted, so that code edited in the meantime is noticed.
        module = import_module(f"stages.{stage}")
        check_unchanged(stage, inputs)
        module.main(inputs)

    return guarded(stage, run)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]) if len(sys.argv) == 2 else "expected the name of one stage: python -m stages train")
