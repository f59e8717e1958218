"""Stops training that has diverged, with the reason."""

import math

from pytorch_lightning import Callback, LightningModule, Trainer

from src.core.errors import UserError


class StopAtNaN(Callback):
    """Raises UserError after the first epoch in which a logged value is not a finite number; put it first."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check every logged value of the epoch."""
        for name, value in trainer.callback_metrics.items():
            if not math.isfinite(value):
                epoch = trainer.current_epoch + 1
                raise UserError(f"epoch {epoch}: {name} is {value.item()}; lower lr in params.yaml and run again")
