import pytest

from src.train.summary import summary
from tests.train.callbacks.boring import SCORES, approx_rows


def test_final_values_are_the_last_epochs() -> None:
    expected = {name: values[2] for name, values in SCORES.items() if name != "lr"}
    assert summary(approx_rows(3))["final"] == expected


def test_best_values_are_over_all_epochs() -> None:
    assert summary(approx_rows(3))["best"] == {"val_loss": 0.45, "val_acc": 0.9, "val_f1": 0.85, "epoch": 2}


def test_the_first_of_several_best_epochs_counts() -> None:
    assert summary(approx_rows(4))["best"]["epoch"] == 2


def test_values_are_rounded_to_six_decimals() -> None:
    assert summary([{"epoch": 1, "loss": 0.12345678}])["final"] == {"loss": pytest.approx(0.123457, abs=1e-12)}


def test_names_that_were_not_logged_are_left_out() -> None:
    assert summary([{"epoch": 1, "loss": 0.5, "acc": 0.8}]) == {"final": {"loss": 0.5, "acc": 0.8}, "best": {}}
