import json
from pathlib import Path

import pytest
from pytorch_lightning import Callback, LightningModule, Trainer

from src.train.callbacks.metrics_json import MetricsJSON
from tests.train.callbacks.boring import SCORES, Boring, fit


class Watcher(Callback):
    def __init__(self, path: Path) -> None:
        self.path, self.there = path, list[bool]()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.there.append(self.path.exists())


def test_final_values_are_the_last_epochs(tmp_path: Path) -> None:
    path = tmp_path / "metrics" / "train.json"
    fit(MetricsJSON(path))
    final = json.loads(path.read_text())["final"]
    assert final == pytest.approx({name: values[2] for name, values in SCORES.items() if name != "lr"}, abs=1e-6)


def test_best_values_are_over_all_epochs(tmp_path: Path) -> None:
    path = tmp_path / "train.json"
    fit(MetricsJSON(path))
    best = json.loads(path.read_text())["best"]
    assert best == pytest.approx({"val_loss": 0.45, "val_acc": 0.9, "val_f1": 0.85, "epoch": 2}, abs=1e-6)


def test_the_first_of_several_best_epochs_counts(tmp_path: Path) -> None:
    path = tmp_path / "train.json"
    fit(MetricsJSON(path), epochs=4)
    assert json.loads(path.read_text())["best"]["epoch"] == 2


def test_the_file_appears_only_once_training_is_whole(tmp_path: Path) -> None:
    metrics = MetricsJSON(tmp_path / "train.json")
    watcher = Watcher(metrics.path)
    fit(metrics, watcher)
    assert watcher.there == [False, False, False]
    assert metrics.path.exists()


def test_a_failure_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="the network broke"):
        fit(MetricsJSON(tmp_path / "train.json"), module=Boring(fail_in_epoch=2))
    assert list(tmp_path.iterdir()) == []


def test_names_that_were_not_logged_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "train.json"
    fit(MetricsJSON(path), module=Boring({"loss", "acc"}))
    assert {part: set(values) for part, values in json.loads(path.read_text()).items()} == {
        "final": {"loss", "acc"},
        "best": set(),
    }
