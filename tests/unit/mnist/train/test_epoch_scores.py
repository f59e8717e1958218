import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn.metrics import accuracy_score, f1_score, log_loss, precision_score, recall_score
from torch.nn import functional as F

from src.mnist.train.epoch_scores import EpochScores


def sklearn_scores(y_true: np.ndarray, y_pred: np.ndarray) -> dict[str, float]:
    macro = {"labels": range(10), "average": "macro", "zero_division": 0}
    return {
        "acc": accuracy_score(y_true, y_pred),
        "precision": precision_score(y_true, y_pred, **macro),
        "recall": recall_score(y_true, y_pred, **macro),
        "f1": f1_score(y_true, y_pred, **macro),
    }


def update(scores: EpochScores, y_true: np.ndarray, y_pred: np.ndarray) -> None:
    """Add images that are predicted with certainty."""
    scores.update(100 * F.one_hot(torch.from_numpy(y_pred), 10).float(), torch.from_numpy(y_true))


def computed(scores: EpochScores) -> dict[str, float]:
    return {name: value.item() for name, value in scores.compute().items()}


@given(st.integers(0, 2**32 - 1), st.integers(1, 10), st.integers(1, 10))
@settings(max_examples=30)
def test_scores_of_several_batches_equal_scikit_learns_of_all(seed: int, actual: int, predicted: int) -> None:
    generator, scores = np.random.default_rng(seed), EpochScores()
    sizes = generator.integers(1, 40, size=3).tolist()
    y_true, logits = generator.integers(0, actual, sum(sizes)), generator.normal(size=(sum(sizes), 10))
    logits[:, predicted:] -= 10
    target, probs = torch.from_numpy(y_true), softmax(logits, axis=1)
    for batch, batch_target in zip(torch.from_numpy(logits).float().split(sizes), target.split(sizes), strict=True):
        scores.update(batch, batch_target)
    expected = sklearn_scores(y_true, probs.argmax(1)) | {"loss": log_loss(y_true, probs, labels=range(10))}
    assert computed(scores) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("y_true", "y_pred"),
    [
        pytest.param([3], [3], id="one image, right"),
        pytest.param([3], [4], id="one image, wrong"),
        pytest.param(list(range(10)), list(range(10)), id="all right"),
        pytest.param(list(range(10)), [*range(1, 10), 0], id="all wrong"),
        pytest.param(list(range(9)) * 2, list(range(9)) * 2, id="a class is absent"),
        pytest.param(list(range(10)), [*range(9), 8], id="a class is never predicted"),
        pytest.param([0] * 5, [9] * 5, id="one class predicted, another actual"),
    ],
)
def test_edges_equal_scikit_learn(y_true: list[int], y_pred: list[int]) -> None:
    scores = EpochScores()
    update(scores, np.array(y_true), np.array(y_pred))
    expected = sklearn_scores(np.array(y_true), np.array(y_pred))
    assert {name: computed(scores)[name] for name in expected} == pytest.approx(expected, abs=1e-6)


def test_the_loss_is_weighted_by_images() -> None:
    scores = EpochScores()
    update(scores, np.zeros(3, int), np.zeros(3, int))
    update(scores, np.zeros(1, int), np.ones(1, int))
    assert computed(scores)["loss"] == pytest.approx(25.0)


def test_a_loss_that_is_no_number_is_not_hidden() -> None:
    scores = EpochScores()
    update(scores, np.zeros(3, int), np.zeros(3, int))
    scores.update(torch.full((3, 10), torch.nan), torch.zeros(3, dtype=torch.int64))
    assert np.isnan(computed(scores)["loss"])


def test_reset_forgets_all_images() -> None:
    scores = EpochScores()
    update(scores, np.arange(10), np.zeros(10, int))
    scores.reset()
    update(scores, np.arange(10), np.arange(10))
    assert computed(scores) == pytest.approx({"loss": 0.0, "acc": 1.0, "precision": 1.0, "recall": 1.0, "f1": 1.0})


def test_computing_changes_nothing() -> None:
    scores = EpochScores()
    update(scores, np.arange(10), np.arange(10))
    assert computed(scores) == computed(scores)


def test_counts_of_a_whole_epoch_are_exact() -> None:
    scores = EpochScores()
    for _ in range(60):
        update(scores, np.full(1000, 3), np.full(1000, 3))
    update(scores, np.array([3]), np.array([4]))
    assert scores.confusion[3].tolist() == [0, 0, 0, 60_000, 1, 0, 0, 0, 0, 0]


@pytest.mark.gpu
def test_scores_are_kept_on_the_device() -> None:
    scores = EpochScores().to("cuda")
    scores.update(torch.zeros(4, 10, device="cuda"), torch.zeros(4, dtype=torch.long, device="cuda"))
    assert {value.device.type for value in scores.compute().values()} == {"cuda"}
