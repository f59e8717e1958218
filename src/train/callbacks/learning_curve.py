"""The picture of the training history."""

from pathlib import Path

from pytorch_lightning import LightningModule, Trainer

from src.train.callbacks.recorder import EpochRecorder


class LearningCurve(EpochRecorder):
    """Draws loss, accuracy and F1 of train and validation as one PNG once training is whole."""

    def __init__(self, path: Path) -> None:
        """Write to this path; its folder is made if missing."""
        super().__init__()
        self.path = path

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the picture; Lightning does not come here after an exception or a signal."""
        # Imported here because matplotlib takes a third of a second, which is better spent once training has begun.
        from src.train.learning_curve import draw_learning_curve

        draw_learning_curve(self.rows, self.path)
