"""Scores of one epoch of training or validation, kept on the device until the epoch ends; the table of all scores."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import SumMetric
from torchmetrics.classification import MulticlassConfusionMatrix

from src.core.dataset import NUM_CLASSES


@dataclass(frozen=True)
class Score:
    """A score and how it is reported.

    Attributes:
        name: Name in the log; the validation score has the prefix `val_`.
        title: Title in the learning curve.
        heading: Heading in the progress table, at most six characters.
        best: Picks the best of several values.
        charted: Whether it has columns in the history, a panel in the learning curve and a best value in the metrics.
    """

    name: str
    title: str
    heading: str
    best: Callable[[Iterable[float]], float] = max
    charted: bool = False


# To add one, compute it in `scores_from_confusion` and describe it here.
SCORES = (
    Score("loss", title="Loss", heading="loss", best=min, charted=True),
    Score("acc", title="Accuracy", heading="acc", charted=True),
    Score("precision", title="Precision (macro)", heading="prec"),
    Score("recall", title="Recall (macro)", heading="recall"),
    Score("f1", title="F1 (macro)", heading="f1", charted=True),
)
CHARTED = tuple(score for score in SCORES if score.charted)


class EpochScores(nn.Module):
    """Cross-entropy, accuracy and macro precision, recall and F1 over all images since the last reset.

    Macro means over all ten classes: one that never occurs or was never predicted counts as 0, as in scikit-learn with
    `labels=range(10)` and `zero_division=0`. (torchmetrics' own macro average leaves absent classes out.)
    """

    def __init__(self) -> None:
        super().__init__()
        self.confusion = MulticlassConfusionMatrix(NUM_CLASSES, validate_args=False)
        # Not MeanMetric: its NaN check waits for the device, and without it torchmetrics 1.9 ignores the weights.
        self.summed_loss = SumMetric(nan_strategy="disable")

    def update(self, logits: Tensor, target: Tensor) -> None:
        """Add images.

        Args:
            logits: float32 of shape (N, 10).
            target: True classes, int64 of shape (N,).
        """
        self.confusion.update(logits.argmax(1), target)
        # Without label smoothing, even if training uses it, so that it is comparable with the validation loss.
        self.summed_loss.update(F.cross_entropy(logits, target, reduction="sum"))

    def compute(self) -> dict[str, Tensor]:
        """Scalars `loss`, `acc`, `precision`, `recall` and `f1`, on the device; all but the loss in [0, 1]."""
        counts = self.confusion.compute()
        return {"loss": self.summed_loss.compute() / counts.sum(), **scores_from_confusion(counts)}

    def reset(self) -> None:
        """Forget all images."""
        self.confusion.reset()
        self.summed_loss.reset()


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
