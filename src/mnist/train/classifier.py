"""The LightningModule: training steps, validation, and scores per epoch."""

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
from src.mnist.train.resumable import check_repeatable
from src.mnist.train.schedule import learning_rates
from src.mnist.train.steps import StepRunner, compute_logits


class Classifier(LightningModule):
    """Trains a network; logs the loss and `scores.SCORES`, with the prefix `val_` in validation, and `lr`.

    Optimization is manual because Lightning passes several batches per call. Its overhead is thus paid once per call,
    and no step waits for the device.
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
        # By the shape of a call: the last calls of an epoch have fewer batches, or a smaller batch.
        self.runners: dict[torch.Size, StepRunner] = {}

    @property
    def eval_network(self) -> nn.Module:
        """The network to validate and save: the one with averaged weights, if there is one."""
        return self.model if self.average is None else self.average

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Fused AdamW, which without weight decay is Adam. Each step sets the rate of all groups by `schedule`."""
        return torch.optim.AdamW(
            self.model.parameters(),
            # A tensor on the device, because captured steps read each rate from device memory.
            lr=torch.zeros((), device=self.device),
            weight_decay=self.params.weight_decay,
            fused=True,
            capturable=self.device.type == "cuda",
        )

    def on_fit_start(self) -> None:
        """Check the optimizer, before its state is restored.

        Raises:
            UserError: If its groups have different learning rates.
        """
        groups = cast(torch.optim.Optimizer, self.optimizers(use_pl_optimizer=False)).param_groups
        if len(rates := {float(group.get("lr", 0)) for group in groups}) > 1:
            raise UserError(
                f"src/mnist/train/classifier.py: the optimizer's groups have learning rates from {min(rates)} to "
                f"{max(rates)}, but every step sets all to the schedule's; multiply that by a factor of each group in "
                "src/mnist/train/steps.py: `_step`"
            )

    def training_step(self, batches: Batches, batch_idx: int) -> None:
        """Take one optimizer step per batch."""
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
        """Seed the random numbers of validation, so that they do not depend on the training steps before it."""
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
            UserError: If a score is not finite.
        """
        for name, value in scores.compute().items():
            if not value.isfinite():
                # A score is computed from counts, which no learning rate makes infinite.
                cause = "lower lr in params.yaml" if name == "loss" else "fix src/mnist/model/scores.py"
                raise UserError(f"epoch {self.current_epoch + 1}: {prefix}{name} is {value}; {cause} and run again")
            self._log(prefix + name, value)
        scores.reset()

    def _log(self, name: str, value: Tensor | float) -> None:
        """Log a value of the whole epoch, which Lightning must not average."""
        self.log(name, value, on_step=False, on_epoch=True, batch_size=1)


class EpochScores(Metric):
    """Mean cross-entropy and every other score over all images since the last reset, kept on the device."""

    confusion: Tensor
    summed_loss: Tensor
    classes: Tensor

    def __init__(self) -> None:
        # Every process scores every image, so counts must not be summed over processes.
        super().__init__(sync_on_compute=False)
        self.add_state("confusion", torch.zeros(NUM_CLASSES, NUM_CLASSES, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("summed_loss", torch.zeros(()), dist_reduce_fx="sum")
        self.register_buffer("classes", torch.arange(NUM_CLASSES), persistent=False)

    def update(self, logits: Tensor, target: Tensor) -> None:
        """Add fewer than 16 million images: logits, float32 of shape (N, 10), and classes, int64 of shape (N,)."""
        # A product of one-hot rows counts pairs; unlike `bincount`, it does not wait for a GPU. It is exact up to 2^24.
        actual, predicted = ((classes.unsqueeze(1) == self.classes).float() for classes in (target, logits.argmax(1)))
        self.confusion += (actual.T @ predicted).long()
        # Without label smoothing, even if training uses it, so that it can be compared with the validation loss.
        self.summed_loss += F.cross_entropy(logits, target, reduction="sum")

    def compute(self) -> dict[str, Tensor]:
        """Return the loss and each of `SCORES` as scalars on the device."""
        return {"loss": self.summed_loss / self.confusion.sum(), **scores_from_confusion(self.confusion.float())}
