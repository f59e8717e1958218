import pytest
import torch

from src.mnist.train.summary import summary
from tests.unit.mnist.train.callbacks.boring import SCORES, approx_rows

SAVED = {"loss": 0.02, "acc": 0.95, "precision": 0.94, "recall": 0.93, "f1": 0.92}


def summary_of(epochs: int) -> dict:
    return summary(approx_rows(epochs), {name: torch.tensor(value) for name, value in SAVED.items()}, 0.48154512)


def test_final_training_scores_are_the_last_epochs_and_validation_scores_the_saved_models() -> None:
    expected = {name: SCORES[name][2] for name in SAVED} | {f"val_{name}": value for name, value in SAVED.items()}
    assert summary_of(3)["final"] == expected


def test_best_values_are_over_all_epochs_and_include_no_loss_of_uncalibrated_logits() -> None:
    assert summary_of(3)["best"] == {"val_acc": 0.9, "val_f1": 0.85, "epoch": 2}


def test_the_first_of_several_best_epochs_counts() -> None:
    assert summary_of(4)["best"]["epoch"] == 2


def test_values_are_rounded_to_six_decimals() -> None:
    assert summary_of(1)["temperature"] == pytest.approx(0.481545, abs=1e-12)
