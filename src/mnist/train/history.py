"""The training history, one row per epoch, as a table that DVC plots, and its summary as metrics that DVC compares."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from src.core.files import write_table
from src.mnist.model.scores import CHARTED

COLUMNS = ("epoch", *(prefix + name for prefix in ("", "val_") for name in CHARTED), "lr")


class History(Callback):
    """Collects the logged values of every epoch, and writes their `COLUMNS` as CSV after each epoch.

    Lightning calls callbacks before the module's own `on_train_epoch_end`, so values logged there miss the row.

    Attributes:
        rows: One dictionary per finished epoch: `epoch`, from 1, and every logged name with its value. A resumed run
            appends to them.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, float]] = []

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the epoch's row and write the table."""
        values = {name: value.item() for name, value in trainer.callback_metrics.items()}
        self.rows.append({"epoch": trainer.current_epoch + 1, **values})
        self.write()

    def write(self) -> None:
        """Write the table of all epochs so far."""
        rows = ({name: f"{row[name]:.6g}" for name in COLUMNS if name in row} for row in self.rows)
        write_table(self.path, COLUMNS, rows)

    def state_dict(self) -> dict[str, Any]:
        """Return the rows for a checkpoint."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the rows from a checkpoint."""
        self.rows = list(state_dict["rows"])


def summary(
    rows: list[dict[str, float]], val_scores: Mapping[str, Tensor], calibrated_loss: Tensor, temperature: float
) -> dict[str, Any]:
    """Summarise a training run as metrics.

    Args:
        rows: Logged values of each epoch, at least one.
        val_scores: Validation scores of the saved network by name; the loss is computed before calibration.
        calibrated_loss: Validation loss of the logits divided by the temperature.
        temperature: The temperature fitted on these logits.

    Returns:
        `final`: the last epoch's training scores, on augmented images, and the saved network's validation scores;
        `val_loss` is comparable with the history's, `val_loss_calibrated` with the test set's and with other runs'.
        `best`: the maximum of each charted validation score over all epochs, and the epoch of the best accuracy (the
        first in a tie). `temperature`. All values are rounded to six decimals.
    """
    final = {name: rows[-1][name] for name in val_scores}
    final |= {f"val_{name}": float(value) for name, value in val_scores.items()}
    final["val_loss_calibrated"] = float(calibrated_loss)
    columns = [f"val_{name}" for name in CHARTED if name != "loss"]
    best = {column: max(row[column] for row in rows) for column in columns}
    best["epoch"] = max(rows, key=lambda row: row["val_acc"])["epoch"]
    return {"final": _rounded(final), "best": _rounded(best), "temperature": round(temperature, 6)}


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 6) for name, value in values.items()}
