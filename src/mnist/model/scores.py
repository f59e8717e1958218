"""The scores of a classifier: one definition for training, validation and the test set."""

from torch import Tensor

# Every score by its name, with its heading in the progress table, at most six characters. Validation's has the prefix
# `val_`, the test set's `test_`. To add one, compute it in `scores_from_confusion` and name it here.
SCORES = {"loss": "loss", "acc": "acc", "precision": "prec", "recall": "recall", "f1": "f1"}
# Those with a column in the history and a panel of this title in the learning curve.
CHARTED = {"loss": "Loss before calibration", "acc": "Accuracy", "f1": "F1 (macro)"}


def class_scores(counts: Tensor) -> dict[str, Tensor]:
    """`precision`, `recall` and `f1` of each class, shape (10,), from the same counts as `scores_from_confusion`.

    A class that never occurs or was never predicted has 0, as in scikit-learn with `zero_division=0`.
    """
    right, actual, predicted = counts.diagonal(), counts.sum(1), counts.sum(0)
    return {
        "precision": right / predicted.clamp(min=1),
        "recall": right / actual.clamp(min=1),
        "f1": 2 * right / (actual + predicted).clamp(min=1),
    }


def scores_from_confusion(counts: Tensor) -> dict[str, Tensor]:
    """Every score but the loss: scalars in [0, 1] on the device of the counts.

    Macro means over all ten classes. (torchmetrics' own macro average leaves absent classes out.)

    Args:
        counts: Number of images by (actual, predicted) class, floating point, shape (10, 10).
    """
    acc = counts.diagonal().sum() / counts.sum().clamp(min=1)
    return {"acc": acc, **{name: values.mean() for name, values in class_scores(counts).items()}}
