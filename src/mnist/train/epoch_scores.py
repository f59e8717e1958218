"""Scores of one epoch of training or validation, kept on the device until the epoch ends."""

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric

from src.mnist.data.dataset import NUM_CLASSES
from src.mnist.model.scores import scores_from_confusion


class EpochScores(Metric):
    """Mean cross-entropy and every other score over all images since the last reset."""

    confusion: Tensor
    summed_loss: Tensor
    classes: Tensor

    def __init__(self) -> None:
        # Every process sees every image, so none may add what the others counted.
        super().__init__(sync_on_compute=False)
        self.add_state("confusion", torch.zeros(NUM_CLASSES, NUM_CLASSES, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("summed_loss", torch.zeros(()), dist_reduce_fx="sum")
        self.register_buffer("classes", torch.arange(NUM_CLASSES), persistent=False)

    def update(self, logits: Tensor, target: Tensor) -> None:
        """Add images, fewer than 16 million.

        Args:
            logits: float32 of shape (N, 10).
            target: True classes, int64 of shape (N,).
        """
        # A product of one-hot rows counts pairs; unlike `bincount`, it does not wait for a GPU. Exact up to 2^24.
        actual, predicted = ((classes.unsqueeze(1) == self.classes).float() for classes in (target, logits.argmax(1)))
        self.confusion += (actual.T @ predicted).long()
        # Without label smoothing, even if training uses it, so that it is comparable with the validation loss.
        self.summed_loss += F.cross_entropy(logits, target, reduction="sum")

    def compute(self) -> dict[str, Tensor]:
        """Each of `SCORES`, a scalar on the device."""
        return {"loss": self.summed_loss / self.confusion.sum(), **scores_from_confusion(self.confusion.float())}
