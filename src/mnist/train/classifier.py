"""The LightningModule: training steps, validation, and the names under which scores are logged."""

import copy
from typing import cast

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn

from src.core.errors import UserError
from src.mnist.model.network import build_model
from src.mnist.model.params import TrainParams
from src.mnist.train.batches import Batches
from src.mnist.train.epoch_scores import EpochScores
from src.mnist.train.schedule import learning_rates
from src.mnist.train.steps import StepRunner, compute_logits


class Classifier(LightningModule):
    """Trains a network; logs each of `scores.SCORES`, `val_` of each, and `lr`.

    Optimization is manual because Lightning passes several batches per call: its overhead is paid once per call, and
    nothing in a step waits for the device.
    """

    def __init__(
        self,
        params: TrainParams,
        steps_per_epoch: int,
    ) -> None:
        """Build the network.

        Args:
            params: Hyperparameters.
            steps_per_epoch: Optimizer steps in an epoch.
        """
        super().__init__()
        self.automatic_optimization = False
        self.params = params
        self.model = build_model(params.architecture, params.seed).to(memory_format=torch.channels_last)
        self.average = copy.deepcopy(self.model) if params.ema else None
        self.rates: Tensor
        rates = learning_rates(params.schedule, params.lr, params.epochs * steps_per_epoch)
        self.register_buffer("rates", torch.from_numpy(rates), persistent=False)
        self.train_scores, self.val_scores = EpochScores(), EpochScores()
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
        indices = batches.plan.indices
        if indices.shape not in self.runners:
            optimizer = cast(torch.optim.Optimizer, self.optimizers(use_pl_optimizer=False))
            self.runners[indices.shape] = StepRunner(self.model, self.average, optimizer, batches, self.params)
        runner = self.runners[indices.shape]
        rates = self.rates[batches.first_step : batches.first_step + len(indices)]
        logits = runner.run(batches, rates)
        self.train_scores.update(logits.flatten(0, 1), batches.labels[indices].flatten())
        if self.trainer.is_last_batch:
            self._log_scores(self.train_scores, "")
            self._log("lr", rates[-1])

    def running_loss(self) -> Tensor:
        """Mean loss of the current epoch so far; reading its value waits for the device."""
        return self.train_scores.compute()["loss"]

    def on_validation_epoch_start(self) -> None:
        """Seed what a network draws even in evaluation, which no training step before may influence."""
        torch.manual_seed(self.params.seed)

    def validation_step(self, batches: Batches, batch_idx: int) -> None:
        """Score the batches."""
        for x, labels in zip(*batches.load(), strict=True):
            self.val_scores.update(compute_logits(self.eval_network, x, self.params.precision), labels)

    def on_validation_epoch_end(self) -> None:
        """Log the epoch's validation scores."""
        self._log_scores(self.val_scores, "val_")

    def _log_scores(self, scores: EpochScores, prefix: str) -> None:
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
