import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, log_loss, precision_score, recall_score

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


def plain_ece(y_true: np.ndarray, probs: np.ndarray, bins: int) -> float:
    total = 0.0
    for low, high in pairwise(np.arange(bins + 1) / bins):
        inside = [i for i in range(len(y_true)) if low < probs[i].max() <= high]
        if inside:
            accuracy = sum(probs[i].argmax() == y_true[i] for i in inside) / len(inside)
            confidence = sum(probs[i].max() for i in inside) / len(inside)
            total += len(inside) / len(y_true) * abs(accuracy - confidence)
    return total


@given(SEEDS, st.integers(1, 10))
def test_scores_equal_scikit_learns(seed: int, classes: int) -> None:
    y_true, probs = random_case(seed, classes)
    y_pred, labels = probs.argmax(1), range(10)
    scores = score_predictions(y_true, probs)
    macro = {"labels": labels, "average": "macro", "zero_division": 0}
    assert scores["test_acc"] == pytest.approx(accuracy_score(y_true, y_pred), abs=ROUNDED)
    assert scores["test_loss"] == pytest.approx(log_loss(y_true, probs, labels=labels), abs=ROUNDED)
    assert scores["test_precision"] == pytest.approx(precision_score(y_true, y_pred, **macro), abs=ROUNDED)
    assert scores["test_recall"] == pytest.approx(recall_score(y_true, y_pred, **macro), abs=ROUNDED)
    assert scores["test_f1"] == pytest.approx(f1_score(y_true, y_pred, **macro), abs=ROUNDED)


@given(SEEDS)
def test_the_order_of_images_does_not_matter(seed: int) -> None:
    y_true, probs = random_case(seed)
    order = np.random.default_rng(seed).permutation(len(y_true))
    assert score_predictions(y_true[order], probs[order]) == pytest.approx(
        score_predictions(y_true, probs), abs=2 * ROUNDED
    )
    assert confusion_rows(y_true[order], probs[order].argmax(1)) == confusion_rows(y_true, probs.argmax(1))
    assert per_class_rows(y_true[order], probs[order].argmax(1)) == per_class_rows(y_true, probs.argmax(1))


def test_all_right() -> None:
    y_true = np.arange(10)
    scores = score_predictions(y_true, certain(y_true))
    assert scores["test_acc"] == scores["test_precision"] == scores["test_recall"] == scores["test_f1"] == 1
    assert scores["test_acc_high"] == 1
    assert scores["test_acc_low"] == pytest.approx(0.722467, abs=ROUNDED)
    assert scores["test_loss"] == pytest.approx(-math.log(0.919), abs=ROUNDED)
    assert scores["test_ece"] == pytest.approx(1 - 0.919, abs=ROUNDED)


def test_all_wrong() -> None:
    y_true = np.arange(10)
    scores = score_predictions(y_true, certain((y_true + 1) % 10))
    assert scores["test_acc"] == scores["test_precision"] == scores["test_recall"] == scores["test_f1"] == 0
    assert scores["test_acc_low"] == 0
    assert scores["test_ece"] == pytest.approx(0.919, abs=ROUNDED)


@given(SEEDS, st.integers(1, 40))
def test_the_calibration_error_equals_a_plain_loop(seed: int, bins: int) -> None:
    y_true, probs = random_case(seed)
    assert expected_calibration_error(y_true, probs, bins) == pytest.approx(plain_ece(y_true, probs, bins), abs=1e-12)


def test_a_certain_and_right_model_is_calibrated() -> None:
    assert expected_calibration_error(np.arange(10), np.eye(10)) == 0


def test_a_certain_and_wrong_model_is_off_by_all() -> None:
    assert expected_calibration_error(np.arange(10), np.eye(10)[::-1]) == 1


@given(SEEDS, st.integers(1, 10))
def test_confusion_has_a_row_for_every_pair(seed: int, classes: int) -> None:
    y_true, probs = random_case(seed, classes)
    y_pred = probs.argmax(1)
    rows = confusion_rows(y_true, y_pred)
    assert [(row["actual"], row["predicted"]) for row in rows] == [(i, j) for i in range(10) for j in range(10)]
    np.testing.assert_array_equal(
        np.array([row["count"] for row in rows]).reshape(10, 10), confusion_matrix(y_true, y_pred, labels=range(10))
    )
    assert sum(row["count"] for row in rows) == len(y_true)


@given(SEEDS, st.integers(1, 10))
def test_per_class_rows_average_to_the_macro_scores(seed: int, classes: int) -> None:
    y_true, probs = random_case(seed, classes)
    y_pred = probs.argmax(1)
    rows = per_class_rows(y_true, y_pred)
    assert [row["class"] for row in rows] == list(range(10))
    assert [row["images"] for row in rows] == np.bincount(y_true, minlength=10).tolist()
    scores = score_predictions(y_true, probs)
    for name in ("precision", "recall", "f1"):
        assert sum(row[name] for row in rows) / 10 == pytest.approx(scores[f"test_{name}"], abs=6e-5)


@given(SEEDS)
def test_errors_are_the_misclassified_images_the_surest_first(seed: int) -> None:
    y_true, probs = random_case(seed)
    rows = error_rows(y_true, probs)
    wrong = [i for i in range(len(y_true)) if probs[i].argmax() != y_true[i]]
    assert [row["index"] for row in rows] == sorted(wrong, key=lambda i: (-round(float(probs[i].max()), 4), i))
    for row in rows:
        index = int(row["index"])
        assert row["actual"] == y_true[index]
        assert row["predicted"] == probs[index].argmax()
        assert row["confidence"] == round(float(probs[index].max()), 4)


def test_there_are_no_error_rows_where_all_is_right() -> None:
    assert error_rows(np.arange(10), np.eye(10)) == []


def test_a_confidence_on_an_edge_belongs_to_the_bin_below() -> None:
    probs = np.array([[0.5, 0.3, 0.2], [0.6, 0.3, 0.1]])
    assert expected_calibration_error(np.array([0, 1]), probs, bins=4) == pytest.approx((0.5 + 0.6) / 2)
