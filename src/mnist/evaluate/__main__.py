"""`python -m src.mnist.evaluate`: the last evaluation in one line, from its outputs."""

import sys
from pathlib import Path

from src.core.errors import UserError
from src.core.signals import restore_signals
from src.mnist.evaluate.summary import summary_line

METRICS, CONFUSION, PICTURE = Path("metrics/eval.json"), Path("plots/confusion.csv"), Path("plots/errors.png")


def main() -> int:
    """Print the line; returns the exit code."""
    try:
        print(summary_line(METRICS, CONFUSION, PICTURE))  # noqa: T201
    except UserError as error:
        print(f"evaluate: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    restore_signals()
    sys.exit(main())
