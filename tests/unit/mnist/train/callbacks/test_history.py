from pathlib import Path

import pandas as pd
import pytest
from pytorch_lightning import Callback, LightningModule, Trainer

from src.mnist.train.callbacks.history import HistoryCSV
from tests.unit.mnist.train.callbacks.boring import SCORES, Boring, fit

COLUMNS = ["epoch", "loss", "acc", "f1", "val_loss", "val_acc", "val_f1", "lr"]


class Reader(Callback):
    def __init__(self, path: Path) -> None:
        self.path, self.seen = path, list[pd.DataFrame]()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.seen.append(pd.read_csv(self.path))


def test_there_is_a_row_an_epoch(tmp_path: Path) -> None:
    path = tmp_path / "plots" / "history.csv"
    fit(HistoryCSV(path))
    table = pd.read_csv(path)
    assert list(table.columns) == COLUMNS
    assert table["epoch"].tolist() == [1, 2, 3]
    for name in COLUMNS[1:]:
        assert table[name].tolist() == pytest.approx(SCORES[name][:3])


def test_the_table_is_whole_after_each_epoch(tmp_path: Path) -> None:
    history = HistoryCSV(tmp_path / "history.csv")
    reader = Reader(history.path)
    fit(history, reader)
    assert [table["epoch"].tolist() for table in reader.seen] == [[1], [1, 2], [1, 2, 3]]
    assert not any(table.isna().any(axis=None) for table in reader.seen)


def test_the_epochs_before_a_failure_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    with pytest.raises(RuntimeError, match="the network broke"):
        fit(HistoryCSV(path), module=Boring(fail_in_epoch=3))
    assert pd.read_csv(path)["epoch"].tolist() == [1, 2]


def test_a_score_that_was_not_logged_leaves_its_column_empty(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    fit(HistoryCSV(path), epochs=1, module=Boring({"loss", "val_loss"}))
    assert path.read_text() == "epoch,loss,acc,f1,val_loss,val_acc,val_f1,lr\n1,0.9,,,0.8,,,\n"


def test_the_bytes_are_the_same_twice(tmp_path: Path) -> None:
    fit(HistoryCSV(tmp_path / "a.csv"))
    fit(HistoryCSV(tmp_path / "b.csv"))
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
