"""What an evaluation found, in one line."""

import csv
import json
from pathlib import Path

from src.core.errors import UserError, one_line


def summary_line(metrics_path: Path, confusion_path: Path, picture: Path) -> str:
    """Accuracy with its interval, loss, number of errors, and where to see them.

    Args:
        metrics_path: Test metrics, as JSON.
        confusion_path: Number of images, `count`, of each pair of classes, `actual` and `predicted`, as CSV.
        picture: The picture of the errors.

    Raises:
        UserError: If a file is missing or is not what the evaluate stage writes.
    """
    try:
        metrics = json.loads(metrics_path.read_text(encoding="utf-8"))
        acc, low, high = (f"{metrics[name]:.2%}" for name in ("test_acc", "test_acc_low", "test_acc_high"))
        with confusion_path.open(newline="", encoding="utf-8") as file:
            counts = {(row["actual"], row["predicted"]): int(row["count"]) for row in csv.DictReader(file)}
        loss = f"{metrics['test_loss']:.4f}"
        if not counts:
            raise ValueError("no counts")
    except (OSError, ValueError, LookupError, TypeError) as error:
        files = f"{metrics_path}, {confusion_path}"
        raise UserError(f"{files}: are not a whole evaluation ({one_line(error)}); run `dvc repro`") from error
    wrong = sum(count for (actual, predicted), count in counts.items() if actual != predicted)
    images = f"{wrong:,} of {sum(counts.values()):,} images wrong"
    return f"Test accuracy {acc} (95% interval {low} to {high}), loss {loss}, {images}: {picture}"
