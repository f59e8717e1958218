from pathlib import Path

import pandas as pd
import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from src.mnist.model.scores import CHARTED, HEADINGS
from src.mnist.train.history import History, summary
from tests.unit.mnist.train.fitting import fit

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
    scores = {prefix + name for prefix in ("", "val_") for name in HEADINGS}
    assert [row.keys() for row in history.rows] == [{"epoch", "lr", *scores}] * 3
    assert [table["epoch"].tolist() for table in reader.seen] == [[1], [1, 2], [1, 2, 3]]
    for table in reader.seen:
        assert [name for name in table.columns if name in COLUMNS] == COLUMNS
        for name in table.columns:
            assert table[name].tolist() == pytest.approx([row[name] for row in history.rows[: len(table)]], rel=1e-5)


def test_missing_score_leaves_its_column_empty(tmp_path: Path) -> None:
    history = History(tmp_path / "history.csv")
    history.rows = [{"epoch": 1, "loss": 0.9, "val_loss": 0.8}]
    history.write()
    (row,) = pd.read_csv(history.path).to_dict("records")
    assert [name for name in row if name in COLUMNS] == COLUMNS
    assert {name: value for name, value in row.items() if not pd.isna(value)} == history.rows[0]


SAVED = {name: round(0.95 - number / 100, 2) for number, name in enumerate(HEADINGS)}
CHARTS = [f"val_{name}" for name in CHARTED if name != "loss"]
ROWS = [
    {"epoch": number, **dict.fromkeys(SAVED, number / 10), **dict.fromkeys(CHARTS, acc - 0.05), "val_acc": acc}
    for number, acc in enumerate((0.6, 0.9, 0.7, 0.9), start=1)
]


@pytest.mark.parametrize("epochs", [3, 4])
def test_summary_has_final_scores_and_first_best_epoch(epochs: int) -> None:
    scores = {name: torch.tensor(value) for name, value in SAVED.items()}
    found = summary(ROWS[:epochs], scores, torch.tensor(0.02), 0.48154512)
    final = dict.fromkeys(SAVED, epochs / 10) | {f"val_{name}": value for name, value in SAVED.items()}
    assert found.keys() == {"final", "best", "temperature"}
    assert found["final"] == final | {"val_loss_calibrated": 0.02}
    # The loss before calibration does not indicate the best epoch.
    assert found["best"] == dict.fromkeys(CHARTS, 0.85) | {"val_acc": 0.9, "epoch": 2}
    assert found["temperature"] == pytest.approx(0.481545, abs=1e-12)
