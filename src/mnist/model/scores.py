"""The scores of a classifier: one definition for training, validation and the test set."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Score:
    """A score and how it is shown.

    Attributes:
        name: Name in the log; validation's has the prefix `val_`, the test set's `test_`.
        heading: Heading in the progress table, at most six characters.
        title: Title of its panel in the learning curve; empty: it has none, and no column in the history.
    """

    name: str
    heading: str
    title: str = ""


# To add one, compute it in `scores_from_confusion` and describe it here: training, validation and evaluation report it.
SCORES = (
    Score("loss", "loss", "Loss before calibration"),
    Score("acc", "acc", "Accuracy"),
    Score("precision", "prec"),
    Score("recall", "recall"),
    Score("f1", "f1", "F1 (macro)"),
)
CHARTED = tuple(score for score in SCORES if score.title)


def scores_from_confusion(counts: Tensor) -> dict[str, Tensor]:
    """Every score but the loss, from counts of images.

    Macro means over all ten classes: one that never occurs or was never predicted counts as 0, as in scikit-learn with
    `labels=range(10)` and `zero_division=0`. (torchmetrics' own macro average leaves absent classes out.)

    Args:
        counts: Number of images by (actual, predicted) class, floating point, shape (10, 10).

    Returns:
        Scalars `acc`, `precision`, `recall` and `f1` in [0, 1], on the device of the counts.
    """
    right, actual, predicted = counts.diagonal(), counts.sum(1), counts.sum(0)

    def macro(part: Tensor, whole: Tensor) -> Tensor:
        return (part / whole.clamp(min=1)).mean()

    return {
        "acc": right.sum() / counts.sum().clamp(min=1),
        "precision": macro(right, predicted),
        "recall": macro(right, actual),
        "f1": macro(2 * right, actual + predicted),
    }
