"""Scores of one epoch of training or validation, kept on the device until the epoch ends; the table of all scores."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric

from src.mnist.data.dataset import NUM_CLASSES


@dataclass(frozen=True)
class Score:
    """A score and how it is reported.

    Attributes:
        name: Name in the log; the validation score has the prefix `val_`.
        title: Title in the learning curve.
        heading: Heading in the progress table, at most six characters.
        higher_is_better: Whether a higher value is better; only then do the metrics have a best value.
        charted: Whether it has columns in the history and a panel in the learning curve.
    """

    name: str
    title: str
    heading: str
    higher_is_better: bool = True
    charted: bool = False


# To add one, compute it in `scores_from_confusion` and describe it here.
SCORES = (
    Score("loss", title="Loss", heading="loss", higher_is_better=False, charted=True),
    Score("acc", title="Accuracy", heading="acc", charted=True),
    Score("precision", title="Precision (macro)", heading="prec"),
    Score("recall", title="Recall (macro)", heading="recall"),
    Score("f1", title="F1 (macro)", heading="f1", charted=True),
)
CHARTED = tuple(score for score in SCORES if score.charted)


class EpochScores(Metric):
    """Cross-entropy, accuracy and macro precision, recall and F1 over all images since the last reset.

    Macro means over all ten classes: one that never occurs or was never predicted counts as 0, as in scikit-learn with
    `labels=range(10)` and `zero_division=0`. (torchmetrics' own macro average leaves absent classes out, and in
    deterministic mode, its confusion matrix compares every image with every cell.)
    """

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
        """Scalars `loss`, `acc`, `precision`, `recall` and `f1`, on the device; all but the loss in [0, 1]."""
        counts = self.confusion
        return {"loss": self.summed_loss / counts.sum(), **scores_from_confusion(counts)}


def scores_from_confusion(confusion: Tensor) -> dict[str, Tensor]:
    """Accuracy and macro scores from counts.

    Args:
        confusion: Number of images by (actual, predicted) class, shape (10, 10).

    Returns:
        Scalars `acc`, `precision`, `recall` and `f1`; 0 / 0 counts as 0.
    """
    counts = confusion.float()
    right, actual, predicted = counts.diagonal(), counts.sum(1), counts.sum(0)

    def macro(part: Tensor, whole: Tensor) -> Tensor:
        return (part / whole.clamp(min=1)).mean()

    return {
        "acc": right.sum() / counts.sum().clamp(min=1),
        "precision": macro(right, predicted),
        "recall": macro(right, actual),
        "f1": macro(2 * right, actual + predicted),
    }
