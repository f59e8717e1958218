"""The scores of a classifier: one definition for training, validation and the test set."""

from torch import Tensor

# Every score by its name, with its heading in the progress table, at most six characters. Validation's has the prefix
# `val_`, the test set's `test_`. To add one, compute it in `scores_from_confusion` and name it here.
SCORES = {"loss": "loss", "acc": "acc", "precision": "prec", "recall": "recall", "f1": "f1"}
# Those with a column in the history and a panel of this title in the learning curve.
CHARTED = {"loss": "Loss before calibration", "acc": "Accuracy", "f1": "F1 (macro)"}


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
