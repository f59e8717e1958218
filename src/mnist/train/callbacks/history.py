"""The training history as a table that DVC plots."""

from pathlib import Path

from pytorch_lightning import LightningModule, Trainer

from src.core.files import write_table
from src.mnist.train.callbacks.recorder import EpochRecorder
from src.mnist.train.scores import CHARTED

COLUMNS = ("epoch", *(prefix + score.name for prefix in ("", "val_") for score in CHARTED), "lr")


class HistoryCSV(EpochRecorder):
    """Writes `epoch, loss, acc, f1, val_loss, val_acc, val_f1, lr`, one row per epoch, atomically after each epoch."""

    def __init__(self, path: Path) -> None:
        """Write to this path; its folder is created if missing."""
        super().__init__()
        self.path = path

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the table up to this epoch."""
        super().on_train_epoch_end(trainer, pl_module)
        self.write()

    def write(self) -> None:
        """Write the table of all epochs so far."""
        rows = ({name: f"{row[name]:.6g}" for name in COLUMNS if name in row} for row in self.rows)
        write_table(self.path, COLUMNS, rows)
