from pathlib import Path

import pandas as pd
import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from src.mnist.train.history import History, summary
from tests.unit.mnist.train.boring import SCORES, Boring, approx_rows, fit

# The required order; there may be other columns between them.
COLUMNS = ["epoch", "loss", "acc", "f1", "val_loss", "val_acc", "val_f1", "lr"]


class Reader(Callback):
    def __init__(self, path: Path) -> None:
        self.path, self.seen = path, list[pd.DataFrame]()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.seen.append(pd.read_csv(self.path))


def test_table_is_complete_after_each_epoch(tmp_path: Path) -> None:
    history = History(tmp_path / "plots" / "history.csv")
    reader = Reader(history.path)
    fit(history, reader)
    assert history.rows == [pytest.approx(row, rel=1e-6) for row in approx_rows(3)]
    assert [table["epoch"].tolist() for table in reader.seen] == [[1], [1, 2], [1, 2, 3]]
    for table in reader.seen:
        assert [name for name in table.columns if name in COLUMNS] == COLUMNS
        for name in table.columns[1:]:
            assert table[name].tolist() == pytest.approx(SCORES[name][: len(table)])


def test_missing_score_leaves_its_column_empty(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    fit(History(path), epochs=1, module=Boring({"loss", "val_loss"}))
    (row,) = pd.read_csv(path).to_dict("records")
    assert [name for name in row if name in COLUMNS] == COLUMNS
    assert {name: value for name, value in row.items() if not pd.isna(value)} == {
        "epoch": 1,
        "loss": 0.9,
        "val_loss": 0.8,
    }


SAVED = {"loss": 0.12, "acc": 0.95, "precision": 0.94, "recall": 0.93, "f1": 0.92}


@pytest.mark.parametrize("epochs", [3, 4])
def test_summary_has_final_scores_and_first_best_epoch(epochs: int) -> None:
    scores = {name: torch.tensor(value) for name, value in SAVED.items()}
    found = summary(approx_rows(epochs), scores, torch.tensor(0.02), 0.48154512)
    final = {name: SCORES[name][epochs - 1] for name in SAVED}
    final |= {f"val_{name}": value for name, value in SAVED.items()} | {"val_loss_calibrated": 0.02}
    assert found.keys() == {"final", "best", "temperature"}
    assert found["final"] == final
    assert found["best"].items() >= {"val_acc": 0.9, "val_f1": 0.85, "epoch": 2}.items()
    # The loss before calibration does not indicate the best epoch.
    assert "val_loss" not in found["best"]
    assert found["temperature"] == pytest.approx(0.481545, abs=1e-12)
