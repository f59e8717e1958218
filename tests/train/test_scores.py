import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score

from src.train.scores import EpochScores, scores_from_confusion


def sklearn_scores(y_true: np.ndarray, y_pred: np.ndarray) -> dict[str, float]:
    macro = {"labels": range(10), "average": "macro", "zero_division": 0}
    return {
        "acc": accuracy_score(y_true, y_pred),
        "precision": precision_score(y_true, y_pred, **macro),
        "recall": recall_score(y_true, y_pred, **macro),
        "f1": f1_score(y_true, y_pred, **macro),
    }


def update(scores: EpochScores, y_true: np.ndarray, y_pred: np.ndarray, loss: float = 0.0) -> None:
    scores.update(torch.from_numpy(y_pred), torch.from_numpy(y_true), torch.tensor(loss))


def computed(scores: EpochScores) -> dict[str, float]:
    return {name: value.item() for name, value in scores.compute().items()}


@given(st.integers(0, 2**32 - 1), st.integers(1, 10), st.integers(1, 10))
@settings(max_examples=30)
def test_scores_of_several_batches_equal_scikit_learns_of_all(seed: int, actual: int, predicted: int) -> None:
    generator, scores = np.random.default_rng(seed), EpochScores()
    sizes = generator.integers(1, 40, size=3)
    y_true, y_pred = (generator.integers(0, classes, sizes.sum()) for classes in (actual, predicted))
    losses = generator.random(3)
    parts = (np.split(y, np.cumsum(sizes)[:-1]) for y in (y_true, y_pred))
    for part_true, part_pred, loss in zip(*parts, losses, strict=True):
        update(scores, part_true, part_pred, loss)
    expected = sklearn_scores(y_true, y_pred) | {"loss": float(losses @ sizes / sizes.sum())}
    assert computed(scores) == pytest.approx(expected, abs=1e-6)


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
    expected = sklearn_scores(np.array(y_true), np.array(y_pred)) | {"loss": 0.0}
    assert computed(scores) == pytest.approx(expected, abs=1e-6)


def test_an_absent_class_counts_as_0() -> None:
    counts = torch.diag(torch.tensor([7] * 9 + [0]))
    assert scores_from_confusion(counts)["f1"].item() == pytest.approx(0.9)


def test_the_loss_is_weighted_by_images() -> None:
    scores = EpochScores()
    update(scores, np.zeros(3, int), np.zeros(3, int), loss=1.0)
    update(scores, np.zeros(1, int), np.zeros(1, int), loss=5.0)
    assert computed(scores)["loss"] == pytest.approx(2.0)


def test_a_loss_that_is_no_number_is_not_hidden() -> None:
    scores = EpochScores()
    update(scores, np.zeros(3, int), np.zeros(3, int), loss=1.0)
    update(scores, np.zeros(3, int), np.zeros(3, int), loss=float("nan"))
    assert np.isnan(computed(scores)["loss"])


def test_reset_forgets_all_images() -> None:
    scores = EpochScores()
    update(scores, np.arange(10), np.zeros(10, int), loss=9.0)
    scores.reset()
    update(scores, np.arange(10), np.arange(10), loss=1.0)
    assert computed(scores) == pytest.approx({"loss": 1.0, "acc": 1.0, "precision": 1.0, "recall": 1.0, "f1": 1.0})


def test_computing_changes_nothing() -> None:
    scores = EpochScores()
    update(scores, np.arange(10), np.arange(10), loss=1.0)
    assert computed(scores) == computed(scores)


def test_counts_of_a_whole_epoch_are_exact() -> None:
    scores = EpochScores()
    for _ in range(60):
        update(scores, np.full(1000, 3), np.full(1000, 3))
    update(scores, np.array([3]), np.array([4]))
    assert scores.confusion.compute()[3].tolist() == [0, 0, 0, 60_000, 1, 0, 0, 0, 0, 0]


@pytest.mark.gpu
def test_scores_are_kept_on_the_device() -> None:
    scores = EpochScores().to("cuda")
    labels = torch.zeros(4, dtype=torch.long, device="cuda")
    scores.update(labels, labels, torch.zeros((), device="cuda"))
    assert {value.device.type for value in scores.compute().values()} == {"cuda"}
