"""What the reporting callbacks share: the logged values of every finished epoch."""

from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer


class EpochRecorder(Callback):
    """Collects one row of logged values per epoch.

    The module logs in its steps or in `on_validation_epoch_end`; Lightning calls callbacks before the module's own
    `on_train_epoch_end`, so what is logged there comes too late for the row.

    Attributes:
        rows: One dictionary per finished epoch: `epoch`, from 1, and every logged name with its value.
    """

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the epoch's row."""
        values = {name: value.item() for name, value in trainer.callback_metrics.items()}
        self.rows.append({"epoch": trainer.current_epoch + 1, **values})

    def state_dict(self) -> dict[str, Any]:
        """The rows, so that a resumed run continues them."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the rows of the resumed run."""
        self.rows = list(state_dict["rows"])
