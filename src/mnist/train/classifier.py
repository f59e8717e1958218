"""The LightningModule: training steps, validation, and the scores of an epoch."""

import copy
from typing import cast

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import Metric

from src.core.errors import UserError
from src.mnist.data.dataset import NUM_CLASSES
from src.mnist.model.network import build_model, normalize
from src.mnist.model.params import TrainParams
from src.mnist.model.scores import scores_from_confusion
from src.mnist.model.seeds import seed_generators
from src.mnist.train.batches import Batches
from src.mnist.train.schedule import learning_rates
from src.mnist.train.steps import StepRunner, check_repeatable, compute_logits


class Classifier(LightningModule):
    """Trains a network; logs the loss, each of `scores.SCORES`, `val_` of each, and `lr`.

    Optimization is manual because Lightning passes several batches per call: its overhead is paid once per call, and
    nothing in a step waits for the device.
    """

    def __init__(self, params: TrainParams, steps_per_epoch: int) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.params = params
        self.model = build_model(params.architecture, params.seed).to(memory_format=torch.channels_last)
        self.average = copy.deepcopy(self.model) if params.ema else None
        self.rates: Tensor
        rates = learning_rates(params.schedule, params.lr, params.epochs * steps_per_epoch)
        self.register_buffer("rates", torch.from_numpy(rates), persistent=False)
        self.train_scores, self.val_scores = EpochScores(), EpochScores()
        # By the shape of a call: an epoch's last call has fewer batches, or a smaller one.
        self.runners: dict[torch.Size, StepRunner] = {}

    @property
    def eval_network(self) -> nn.Module:
        """The network that is validated and saved: the one with averaged weights, if there is one."""
        return self.model if self.average is None else self.average

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Fused AdamW; without weight decay, it is Adam."""
        return torch.optim.AdamW(
            self.model.parameters(),
            # One tensor on the device for all steps, so that a captured step can change it.
            lr=torch.zeros((), device=self.device),
            weight_decay=self.params.weight_decay,
            fused=True,
            capturable=self.device.type == "cuda",
        )

    def training_step(self, batches: Batches, batch_idx: int) -> None:
        """One optimizer step per batch."""
        indices = batches.plan[0]
        if not self.runners:
            check_repeatable(self.model, batches.load()[0][0], self.params)
        if indices.shape not in self.runners:
            optimizer = cast(torch.optim.Optimizer, self.optimizers(use_pl_optimizer=False))
            self.runners[indices.shape] = StepRunner(self.model, self.average, optimizer, batches, self.params)
        rates = self.rates[batches.first_step : batches.first_step + len(indices)]
        logits = self.runners[indices.shape].run(batches, rates)
        self.train_scores.update(logits.flatten(0, 1), batches.labels[indices].flatten())
        if self.trainer.is_last_batch:
            self._log_scores(self.train_scores, "")
            self._log("lr", rates[-1])

    def running_loss(self) -> Tensor:
        """Mean loss of the current epoch so far; reading its value waits for the device."""
        return self.train_scores.compute()["loss"]

    def on_validation_epoch_start(self) -> None:
        """Seed what a network draws even in evaluation, which no training step before may influence."""
        seed_generators(self.params.seed)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Score images, uint8 of shape (N, 28, 28), with their labels."""
        images, labels = batch
        self.val_scores.update(compute_logits(self.eval_network, normalize(images), self.params.precision), labels)

    def on_validation_epoch_end(self) -> None:
        """Log the epoch's validation scores."""
        self._log_scores(self.val_scores, "val_")

    def _log_scores(self, scores: "EpochScores", prefix: str) -> None:
        """Log an epoch's scores.

        Raises:
            UserError: If one is not a finite number.
        """
        for name, value in scores.compute().items():
            if not value.isfinite():
                epoch = self.current_epoch + 1
                raise UserError(f"epoch {epoch}: {prefix}{name} is {value}; lower lr in params.yaml and run again")
            self._log(prefix + name, value)
        scores.reset()

    def _log(self, name: str, value: Tensor | float) -> None:
        """Log a value of the whole epoch, which Lightning must not average over anything."""
        self.log(name, value, on_step=False, on_epoch=True, batch_size=1)


class EpochScores(Metric):
    """Mean cross-entropy and every other score over all images since the last reset, kept on the device."""

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
        """Add fewer than 16 million images: logits, float32 of shape (N, 10), and classes, int64 of shape (N,)."""
        # A product of one-hot rows counts pairs; unlike `bincount`, it does not wait for a GPU. Exact up to 2^24.
        actual, predicted = ((classes.unsqueeze(1) == self.classes).float() for classes in (target, logits.argmax(1)))
        self.confusion += (actual.T @ predicted).long()
        # Without label smoothing, even if training uses it, so that it is comparable with the validation loss.
        self.summed_loss += F.cross_entropy(logits, target, reduction="sum")

    def compute(self) -> dict[str, Tensor]:
        """The loss and each of `SCORES`, scalars on the device."""
        return {"loss": self.summed_loss / self.confusion.sum(), **scores_from_confusion(self.confusion.float())}
