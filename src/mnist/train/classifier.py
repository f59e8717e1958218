"""The LightningModule: training steps, validation, and the names under which scores are logged."""

import copy
from typing import Any, cast

import numpy as np
import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn

from src.mnist.model.network import normalize
from src.mnist.model.processes import Processes
from src.mnist.train.batches import Batches, Selection
from src.mnist.train.scores import EpochScores
from src.mnist.train.steps import StepRunner, compute_logits


class Classifier(LightningModule):
    """Trains a network; logs each of `scores.SCORES`, `val_` of each, and `lr`.

    Optimization is manual because Lightning passes several batches per call: its overhead is paid once per call, and
    nothing in a step waits for the device.
    """

    def __init__(
        self,
        model: nn.Module,
        rates: np.ndarray,
        weight_decay: float = 0.0,
        label_smoothing: float = 0.0,
        ema: float = 0.0,
        precision: str = "fp32",
        shards: int = 1,
        processes: Processes = Processes(),  # noqa: B008 - it is frozen
    ) -> None:
        """Wrap a network.

        Args:
            model: Normalised images (N, 1, 28, 28) to logits (N, 10).
            rates: Learning rate of each step of all epochs together, float32 of shape (total_steps,).
            weight_decay: Decoupled weight decay.
            label_smoothing: Share of each target spread evenly over all classes; training only.
            ema: Decay per step of the moving average of the weights, which is then validated and saved; 0: no average.
            precision: `fp32`, or `bf16` for bfloat16 where PyTorch's autocast uses it; weights are float32 either way.
            shards: Number of parts of a batch whose gradients are computed one by one.
            processes: The processes that compute them; their number divides that of the shards.
        """
        super().__init__()
        self.automatic_optimization = False
        self.model = model.to(memory_format=torch.channels_last)
        self.average = copy.deepcopy(self.model) if ema else None
        self.rates: Tensor
        self.register_buffer("rates", torch.from_numpy(rates), persistent=False)
        self.weight_decay, self.label_smoothing = weight_decay, label_smoothing
        self.ema, self.precision = ema, precision
        self.shards, self.processes = shards, processes
        self.train_scores, self.val_scores = EpochScores(), EpochScores()
        self.runners: dict[torch.Size, StepRunner] = {}
        # Whether steps ran as CUDA graphs; a resumed training has it from its checkpoint.
        self.captured = False

    @property
    def deployed(self) -> nn.Module:
        """The network that is validated and saved: the one with averaged weights, if there is one."""
        return self.model if self.average is None else self.average

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Fused AdamW; without weight decay, it is Adam."""
        return torch.optim.AdamW(
            self.model.parameters(),
            # One tensor on the device for all steps, so that a captured step can change it.
            lr=torch.zeros((), device=self.device),
            weight_decay=self.weight_decay,
            fused=True,
            capturable=self.device.type == "cuda",
        )

    def training_step(self, batches: Batches, batch_idx: int) -> None:
        """One optimizer step per batch."""
        indices = batches.selection.indices
        if indices.shape not in self.runners:
            self.runners[indices.shape] = StepRunner(
                self.model,
                cast(torch.optim.Optimizer, self.optimizers(use_pl_optimizer=False)),
                batches,
                average=self.average,
                ema=self.ema,
                label_smoothing=self.label_smoothing,
                precision=self.precision,
                shards=self.shards,
                processes=self.processes,
            )
        rates = self.rates[batches.first_step : batches.first_step + len(indices)]
        logits = self.runners[indices.shape].run(batches, rates)
        self.captured |= self.runners[indices.shape].replay is not None
        self.train_scores.update(logits.flatten(0, 1), batches.examples.labels[indices].flatten())
        if self.trainer.is_last_batch:
            self._log_scores(self.train_scores, "")
            self._log("lr", rates[-1])

    def validation_step(self, batches: Batches, batch_idx: int) -> None:
        """Score the batches."""
        for indices, offsets in zip(batches.selection.indices, batches.selection.offsets, strict=True):
            images = batches.examples.images(Selection(indices, offsets))
            logits = compute_logits(self.deployed, normalize(images), self.precision)
            self.val_scores.update(logits, batches.examples.labels[indices])

    def on_validation_epoch_end(self) -> None:
        """Log the epoch's validation scores."""
        self._log_scores(self.val_scores, "val_")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add whether steps ran as CUDA graphs."""
        checkpoint["captured"] = self.captured

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore it."""
        self.captured = checkpoint["captured"]

    def _log_scores(self, scores: EpochScores, prefix: str) -> None:
        for name, value in scores.compute().items():
            self._log(prefix + name, value)
        scores.reset()

    def _log(self, name: str, value: Tensor | float) -> None:
        """Log a value of the whole epoch, which Lightning must not average over anything."""
        self.log(name, value, on_step=False, on_epoch=True, batch_size=1)
