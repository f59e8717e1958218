"""Test scores of a trained model and tables of its errors, computed from labels and probabilities."""

import math

import numpy as np
import torch
from sklearn.metrics import confusion_matrix, log_loss

from src.core.errors import UserError
from src.core.interval import wilson_interval
from src.mnist.data.dataset import NUM_CLASSES
from src.mnist.model.scores import class_scores, scores_from_confusion

CALIBRATION_BINS = 15
CLASSES = np.arange(NUM_CLASSES)


def score_predictions(y_true: np.ndarray, probs: np.ndarray) -> dict[str, float]:
    """Compute every test metric, rounded to six decimals.

    Args:
        y_true: True classes, shape (N,), values 0 to 9, N at least 1.
        probs: Probability of each class, shape (N, 10); each row sums to 1.

    Returns:
        `test_acc` with its 95% interval, `test_acc_low` to `test_acc_high`; `test_loss` (mean cross-entropy, natural
        logarithm); every other score of `SCORES` with the prefix `test_`; `test_ece`.

    Raises:
        UserError: If a score is not finite.
    """
    counts = confusion_matrix(y_true, probs.argmax(1), labels=CLASSES)
    scores = scores_from_confusion(torch.from_numpy(counts).double())
    low, high = wilson_interval(int(counts.trace()), len(y_true))
    values = {
        "test_acc": scores.pop("acc"),
        "test_acc_low": low,
        "test_acc_high": high,
        "test_loss": log_loss(y_true, probs, labels=CLASSES),
        **{f"test_{name}": value for name, value in scores.items()},
        "test_ece": expected_calibration_error(y_true, probs),
    }
    if wrong := [name for name, value in values.items() if not math.isfinite(value)]:
        raise UserError(
            f"{', '.join(wrong)}: expected a finite number; fix its function in src/mnist/model/scores.py or "
            "src/mnist/evaluate/scores.py"
        )
    return {name: round(float(value), 6) for name, value in values.items()}


def expected_calibration_error(y_true: np.ndarray, probs: np.ndarray, bins: int = CALIBRATION_BINS) -> float:
    """Mean gap between confidence and accuracy over bins of equal width (Guo et al., ICML 2017, equation 3).

    The confidence is the largest probability.

    Returns:
        Σ over bins of (images in the bin / N) · |accuracy − mean confidence|, in [0, 1].
    """
    confidence, right = probs.max(1), probs.argmax(1) == y_true
    # A bin excludes its lower edge and includes its upper edge, as in the paper. Confidence is always above 0.
    bin_of = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(bin_of, weights=right - confidence.astype(float), minlength=bins)
    return float(np.abs(gaps).sum() / len(y_true))


def confusion_rows(y_true: np.ndarray, y_pred: np.ndarray) -> list[dict[str, int]]:
    """Count every (actual, predicted) pair of classes: 100 rows, zeros included so that a heat map has no holes."""
    counts = confusion_matrix(y_true, y_pred, labels=CLASSES)
    return [{"actual": int(i), "predicted": int(j), "count": int(counts[i, j])} for i in CLASSES for j in CLASSES]


def per_class_rows(y_true: np.ndarray, y_pred: np.ndarray) -> list[dict[str, float]]:
    """Precision, recall, F1 (four decimals) and number of images per class: ten rows."""
    counts = torch.from_numpy(confusion_matrix(y_true, y_pred, labels=CLASSES)).double()
    scores = {name: values.numpy().round(4).tolist() for name, values in class_scores(counts).items()}
    columns = {"class": CLASSES.tolist(), **scores, "images": counts.sum(1).int().tolist()}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def error_rows(y_true: np.ndarray, probs: np.ndarray) -> list[dict[str, float]]:
    """Index, actual, predicted and confidence (four decimals) of each misclassified image, most confident first."""
    y_pred, confidence = probs.argmax(1), probs.max(1).round(4)
    wrong = np.flatnonzero(y_pred != y_true)
    columns = {"actual": y_true, "predicted": y_pred, "confidence": confidence}
    rows = [{"index": int(i), **{name: values[i].item() for name, values in columns.items()}} for i in wrong]
    return sorted(rows, key=lambda row: (-row["confidence"], row["index"]))
