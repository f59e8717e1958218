import numpy as np
import pytest
import torch

from src.core.errors import UserError
from src.mnist.evaluate.scores import score_predictions
from src.mnist.model.scores import HEADINGS, SCORES, Score, accuracy
from src.mnist.train.classifier import EpochScores
from src.mnist.train.history import summary
from tests.conftest import random_probs
from tests.unit.mnist.train.fitting import fit


def test_new_score_appears_in_all_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SCORES, "error", Score(lambda counts: 1 - accuracy(counts), "error"))
    probs, labels = random_probs(50, np.random.default_rng(0)), np.arange(50) % 10
    epoch = EpochScores()
    epoch.update(torch.from_numpy(probs).float().log(), torch.from_numpy(labels))
    scores = epoch.compute()
    row = {"epoch": 1, **{prefix + name: value.item() for prefix in ("", "val_") for name, value in scores.items()}}
    final = summary([row], scores, torch.tensor(0.5), temperature=1.0)["final"]
    error = pytest.approx((probs.argmax(1) != labels).mean(), abs=1e-6)
    assert (final["error"], final["val_error"], score_predictions(labels, probs)["test_error"]) == (error, error, error)


def test_score_that_is_not_finite_is_named_with_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SCORES, "odd", Score(lambda counts: counts.sum() / 0 - counts.sum() / 0, "odd"))
    with pytest.raises(UserError, match=r"^test_odd: expected a finite number; fix its function in src/mnist/model/sc"):
        score_predictions(np.array([0]), np.eye(10)[:1])
    with pytest.raises(UserError, match=r"^epoch 1: odd is nan; fix src/mnist/model/scores.py and run again"):
        fit()


def test_every_score_has_a_column_in_the_progress_table() -> None:
    assert HEADINGS.keys() == EpochScores()(torch.zeros(1, 10), torch.tensor([0])).keys()
    assert max(map(len, HEADINGS.values())) <= 6
