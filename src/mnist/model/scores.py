"""The scores of a classifier: one definition for training, validation and the test set."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from torch import Tensor

from src.core.errors import UserError


class Score(NamedTuple):
    """How a score is computed and shown.

    Attributes:
        of_counts: Maps the number of images by (actual, predicted) class, floating point, shape (10, 10), to a finite
            scalar on the same device.
        heading: Column heading in the progress table, at most six characters.
        title: Title of the panel in the learning curve. If empty, the score has no panel, and no column in the history.
    """

    of_counts: Callable[[Tensor], Tensor]
    heading: str
    title: str = ""


def class_scores(counts: Tensor) -> dict[str, Tensor]:
    """`precision`, `recall` and `f1` of each class, shape (10,).

    A class that never occurs or is never predicted scores 0, as in scikit-learn with `zero_division=0`.
    """
    right, actual, predicted = counts.diagonal(), counts.sum(1), counts.sum(0)
    return {
        "precision": right / predicted.clamp(min=1),
        "recall": right / actual.clamp(min=1),
        "f1": 2 * right / (actual + predicted).clamp(min=1),
    }


def accuracy(counts: Tensor) -> Tensor:
    """Share of images that are classified correctly."""
    return counts.diagonal().sum() / counts.sum().clamp(min=1)


def macro(name: str, counts: Tensor) -> Tensor:
    """Mean of a class score over all ten classes; torchmetrics' own macro average omits absent classes."""
    return class_scores(counts)[name].mean()


# Every score except the loss, by name; the prefix is `val_` in validation and `test_` on the test set. Add scores here.
SCORES = {
    "acc": Score(accuracy, "acc", "Accuracy"),
    "precision": Score(partial(macro, "precision"), "prec"),
    "recall": Score(partial(macro, "recall"), "recall"),
    "f1": Score(partial(macro, "f1"), "f1", "F1 (macro)"),
}
HEADINGS = {"loss": "loss", **{name: score.heading for name, score in SCORES.items()}}
CHARTED = {"loss": "Loss before calibration", **{name: score.title for name, score in SCORES.items() if score.title}}


def scores_from_confusion(counts: Tensor) -> dict[str, Tensor]:
    """Compute each of `SCORES` as a scalar on the device of the counts.

    Raises:
        UserError: If one is something else.
    """
    found = {name: score.of_counts(counts) for name, score in SCORES.items()}
    for name, value in found.items():
        shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        if shape != ():
            raise UserError(f"src/mnist/model/scores.py: {name}: expected a tensor of shape (), got {shape}")
    return found
