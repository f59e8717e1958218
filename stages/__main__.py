"""Runs one stage under its guard: `python -m stages train`."""

import sys
from importlib import import_module

from src.guard import guarded


def main(stage: str) -> int:
    """Import the stage once its inputs are noted, so that code edited in the meantime is noticed, too."""

    def run(inputs: dict[str, str]) -> int:
        module = import_module(f"stages.{stage}")
        # Training stamps its checkpoints with what it was made from.
        return module.main(inputs) if stage == "train" else module.main()

    return guarded(stage, run)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]) if len(sys.argv) == 2 else "expected the name of one stage: python -m stages train")
