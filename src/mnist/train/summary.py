"""A training run's final and best scores, as metrics that DVC compares."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from src.mnist.train.scores import CHARTED, SCORES


def summary(rows: list[dict[str, float]], val_scores: Mapping[str, Tensor], temperature: float) -> dict[str, Any]:
    """The metrics of a training run.

    Args:
        rows: Logged values of each epoch, at least one.
        val_scores: Validation scores of the model as it is saved, by name.
        temperature: The temperature of that model, which was fitted on the same validation logits.

    Returns:
        `final`: the last epoch's training scores, and the saved model's validation scores. The two losses are not
        comparable: training scores are of augmented images, and of logits before temperature scaling.
        `best`: the highest value that each charted validation score had after an epoch, and the epoch of the best
        accuracy (the first in a tie). Losses have none: an epoch's loss is of logits before temperature scaling.
        `temperature`. Rounded to six decimals.
    """
    final = {score.name: rows[-1][score.name] for score in SCORES}
    final |= {f"val_{score.name}": float(val_scores[score.name]) for score in SCORES}
    columns = [f"val_{score.name}" for score in CHARTED if score.higher_is_better]
    best = {column: max(row[column] for row in rows) for column in columns}
    best["epoch"] = max(rows, key=lambda row: row["val_acc"])["epoch"]
    return {"final": _rounded(final), "best": _rounded(best), "temperature": round(temperature, 6)}


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 6) for name, value in values.items()}
