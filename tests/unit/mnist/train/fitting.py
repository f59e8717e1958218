from typing import Any

import pytest
from pytorch_lightning import Callback, LightningModule, Trainer

from src.mnist.train import batches
from src.mnist.train.batches import TrainingData
from src.mnist.train.classifier import Classifier
from src.mnist.train.trainer import build_trainer
from tests.conftest import PARAMS, random_examples

BATCHES = 4


class Stop(Callback):
    """Ends training in the middle of an epoch, like an error or a signal handler."""

    def __init__(self, epoch: int, exception: BaseException) -> None:
        self.epoch, self.exception = epoch, exception

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if (trainer.current_epoch + 1, batch_idx) == (self.epoch, 1):
            raise self.exception


def fit(*callbacks: Callback, epochs: int = 3) -> None:
    """Train on 20 random images, in four calls of one batch per epoch."""
    params = PARAMS.model_copy(update={"epochs": epochs, "val_fraction": 0.5, "batch_size": 5})
    data = TrainingData(random_examples(40), params)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "BATCHES_PER_CALL", 1)
        build_trainer(epochs, "cpu", callbacks).fit(Classifier(params, data.steps_per_epoch), datamodule=data)
