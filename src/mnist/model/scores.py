"""The scores of a classifier: one definition for training, validation and the test set."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from torch import Tensor


class Score(NamedTuple):
    """How a score is computed and shown.

    Attributes:
        of_counts: From the number of images by (actual, predicted) class, floating point, shape (10, 10), to a finite
            scalar on the same device.
        heading: In the progress table, at most six characters.
        title: Of its panel in the learning curve; without one, it has neither a panel nor a column in the history.
    """

    of_counts: Callable[[Tensor], Tensor]
    heading: str
    title: str = ""


def class_scores(counts: Tensor) -> dict[str, Tensor]:
    """`precision`, `recall` and `f1` of each class, shape (10,).

    A class that never occurs or was never predicted has 0, as in scikit-learn with `zero_division=0`.
    """
    right, actual, predicted = counts.diagonal(), counts.sum(1), counts.sum(0)
    return {
        "precision": right / predicted.clamp(min=1),
        "recall": right / actual.clamp(min=1),
        "f1": 2 * right / (actual + predicted).clamp(min=1),
    }


def accuracy(counts: Tensor) -> Tensor:
    """Share of the images that are right."""
    return counts.diagonal().sum() / counts.sum().clamp(min=1)


def macro(name: str, counts: Tensor) -> Tensor:
    """Mean of a class score over all ten classes; torchmetrics' own macro average leaves absent classes out."""
    return class_scores(counts)[name].mean()


# Every score but the loss, by its name; validation's has the prefix `val_`, the test set's `test_`. Add one here.
SCORES = {
    "acc": Score(accuracy, "acc", "Accuracy"),
    "precision": Score(partial(macro, "precision"), "prec"),
    "recall": Score(partial(macro, "recall"), "recall"),
    "f1": Score(partial(macro, "f1"), "f1", "F1 (macro)"),
}
HEADINGS = {"loss": "loss", **{name: score.heading for name, score in SCORES.items()}}
CHARTED = {"loss": "Loss before calibration", **{name: score.title for name, score in SCORES.items() if score.title}}


def scores_from_confusion(counts: Tensor) -> dict[str, Tensor]:
    """Each of `SCORES`, a scalar on the device of the counts."""
    return {name: score.of_counts(counts) for name, score in SCORES.items()}
