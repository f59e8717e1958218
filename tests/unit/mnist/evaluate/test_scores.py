import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    log_loss,
    precision_recall_fscore_support,
)

from src.mnist.evaluate.scores import (
    confusion_rows,
    error_rows,
    expected_calibration_error,
    per_class_rows,
    score_predictions,
)
from tests.conftest import random_probs

SEEDS = st.integers(0, 2**32 - 1)
ROUNDED = 5.1e-7


def random_case(seed: int, classes: int = 10) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    size = int(generator.integers(1, 80))
    return generator.integers(0, classes, size), random_probs(size, generator)


def certain(y_pred: np.ndarray) -> np.ndarray:
    return np.eye(10)[y_pred] * 0.91 + 0.009


@given(SEEDS, st.integers(1, 10))
@settings(max_examples=30)
def test_scores_and_tables_match_scikit_learn(seed: int, classes: int) -> None:
    y_true, probs = random_case(seed, classes)
    y_pred, labels, names = probs.argmax(1), range(10), ("precision", "recall", "f1")
    scores, options = score_predictions(y_true, probs), {"labels": labels, "zero_division": 0}
    macro = precision_recall_fscore_support(y_true, y_pred, average="macro", **options)
    expected = dict(zip(names, macro, strict=False))
    expected |= {"acc": accuracy_score(y_true, y_pred), "loss": log_loss(y_true, probs, labels=labels)}
    for name, value in expected.items():
        assert scores[f"test_{name}"] == pytest.approx(value, abs=ROUNDED)
    rows = per_class_rows(y_true, y_pred)
    assert [row["class"] for row in rows] == list(labels)
    by_class = precision_recall_fscore_support(y_true, y_pred, **options)
    for name, values in zip((*names, "images"), by_class, strict=True):
        assert [row[name] for row in rows] == pytest.approx(values, abs=5.1e-5)
    counts = confusion_matrix(y_true, y_pred, labels=labels)
    expected_rows = [{"actual": i, "predicted": j, "count": counts[i, j]} for i in labels for j in labels]
    assert confusion_rows(y_true, y_pred) == expected_rows


@pytest.mark.parametrize(("turn", "value", "low", "high"), [(0, 1, 0.722467, 1), (1, 0, 0, 0.277533)])
def test_scores_if_all_predictions_are_right_or_wrong(turn: int, value: float, low: float, high: float) -> None:
    scores = score_predictions(np.arange(10), certain((np.arange(10) + turn) % 10))
    assert {scores[f"test_{name}"] for name in ("acc", "precision", "recall", "f1")} == {value}
    assert scores["test_acc_low"] == pytest.approx(low, abs=ROUNDED)
    assert scores["test_acc_high"] == pytest.approx(high, abs=ROUNDED)
    assert scores["test_loss"] == pytest.approx(-math.log(0.009 if turn else 0.919), abs=ROUNDED)
    assert scores["test_ece"] == pytest.approx(abs(value - 0.919), abs=ROUNDED)


def plain_ece(y_true: np.ndarray, probs: np.ndarray, bins: int) -> float:
    total = 0.0
    for low, high in pairwise(np.arange(bins + 1) / bins):
        inside = [i for i in range(len(y_true)) if low < probs[i].max() <= high]
        if inside:
            accuracy = sum(probs[i].argmax() == y_true[i] for i in inside) / len(inside)
            confidence = sum(probs[i].max() for i in inside) / len(inside)
            total += len(inside) / len(y_true) * abs(accuracy - confidence)
    return total


@given(SEEDS, st.integers(1, 40))
def test_calibration_error_matches_a_plain_loop(seed: int, bins: int) -> None:
    y_true, probs = random_case(seed)
    assert expected_calibration_error(y_true, probs, bins) == pytest.approx(plain_ece(y_true, probs, bins), abs=1e-12)


def test_confidence_on_a_bin_edge_belongs_to_the_lower_bin() -> None:
    probs = np.array([[0.5, 0.3, 0.2], [0.6, 0.3, 0.1]])
    assert expected_calibration_error(np.array([0, 1]), probs, bins=4) == pytest.approx((0.5 + 0.6) / 2)


@given(SEEDS)
def test_errors_are_misclassified_images_most_confident_first(seed: int) -> None:
    y_true, probs = random_case(seed)
    confidence, preds = probs.max(1).round(4), probs.argmax(1)
    wrong = sorted(np.flatnonzero(preds != y_true), key=lambda i: (-confidence[i], i))
    expected = [
        {"index": i, "actual": y_true[i], "predicted": preds[i], "confidence": confidence[i].item()} for i in wrong
    ]
    assert error_rows(y_true, probs) == expected
