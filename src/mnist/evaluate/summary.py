"""`python -m src.mnist.evaluate.summary`: the last evaluation in one line, from its outputs."""

import csv
import json
import sys
from pathlib import Path

from src.core.errors import UserError, one_line
from src.core.process import prepare_process, take_no_arguments

METRICS, CONFUSION, PICTURE = Path("metrics/eval.json"), Path("plots/confusion.csv"), Path("plots/errors.png")


def summary_line() -> str:
    """Accuracy with its interval, loss, number of errors, and the path of their image.

    Raises:
        UserError: If an output of the evaluate stage is missing or malformed.
    """
    try:
        metrics = json.loads(METRICS.read_text(encoding="utf-8"))
        acc, low, high = (f"{metrics[name]:.2%}" for name in ("test_acc", "test_acc_low", "test_acc_high"))
        with CONFUSION.open(newline="", encoding="utf-8") as file:
            rows = [(row["actual"] == row["predicted"], int(row["count"])) for row in csv.DictReader(file)]
        loss = f"{metrics['test_loss']:.4f}"
        if not rows:
            raise ValueError("no counts")
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UserError(
            f"{METRICS}, {CONFUSION}: are not a complete evaluation ({one_line(error)}); run `dvc repro`"
        ) from error
    wrong = sum(count for is_right, count in rows if not is_right)
    images = f"{wrong:,} of {sum(count for _, count in rows):,} images wrong"
    return f"Test accuracy {acc} (95% interval {low} to {high}), loss {loss}, {images}: {PICTURE}"


if __name__ == "__main__":
    prepare_process()
    take_no_arguments("src.mnist.evaluate.summary")
    try:
        print(summary_line())  # noqa: T201
    except UserError as error:
        sys.exit(f"evaluate: {error}")
