"""The LightningModule: steps of the optimizer, scores, and the names under which they are logged."""

import copy
from typing import cast

import numpy as np
import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import get_ema_multi_avg_fn

from src.model.network import normalize
from src.train.augmentation import warp
from src.train.batches import Chunk, Part, Plan
from src.train.scores import EpochScores
from src.train.steps import Step, StepRunner


class Classifier(LightningModule):
    """Trains a network on chunks of batches; logs `loss, acc, precision, recall, f1`, `val_` of each, and `lr`.

    Optimization is manual because a training step is a whole chunk: Lightning's own cost is paid once a chunk, and
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
    ) -> None:
        """Wrap a network.

        Args:
            model: Normalised images (N, 1, 28, 28) to logits (N, 10).
            rates: Learning rate of each step of all epochs together, float32 of shape (total_steps,).
            weight_decay: Decoupled weight decay.
            label_smoothing: Share of each target spread evenly over all classes; training only.
            ema: Decay a step of the moving average of the weights, which is then validated and saved; 0: no average.
            precision: `fp32`, or `bf16` for bfloat16 where PyTorch's autocast uses it; weights are float32 either way.
        """
        super().__init__()
        self.automatic_optimization = False
        self.model = model.to(memory_format=torch.channels_last)
        self.average = copy.deepcopy(self.model) if ema else None
        self.rates: Tensor
        self.register_buffer("rates", torch.from_numpy(rates), persistent=False)
        self.weight_decay, self.label_smoothing, self.ema, self.precision = (
            weight_decay,
            label_smoothing,
            ema,
            precision,
        )
        self.train_scores, self.val_scores = EpochScores(), EpochScores()
        self.runners: dict[int, StepRunner] = {}

    @property
    def result(self) -> nn.Module:
        """The network that training is for: the average of the weights where there is one."""
        return self.model if self.average is None else self.average

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Fused Adam, with decoupled weight decay where there is any."""
        return torch.optim.AdamW(
            self.model.parameters(),
            # One tensor on the device for all steps, so that a captured step can change it.
            lr=torch.zeros((), device=self.device),
            weight_decay=self.weight_decay,
            fused=True,
            capturable=self.device.type == "cuda",
        )

    def training_step(self, chunk: Chunk, batch_idx: int) -> None:
        """One optimizer step for each batch of the chunk."""
        steps, batch_size = chunk.plan.order.shape
        if batch_size not in self.runners:
            self.runners[batch_size] = StepRunner(self._step_on(chunk.part), chunk.plan, self._changing)
        rates = self.rates[chunk.first_step : chunk.first_step + steps]
        logits = self.runners[batch_size].run(chunk.plan, rates)
        self.train_scores.update(logits.flatten(0, 1), chunk.part.labels[chunk.plan.order].flatten())
        if self.trainer.is_last_batch:
            self._log_scores(self.train_scores, "")
            self._log("lr", rates[-1])

    def validation_step(self, chunk: Chunk, batch_idx: int) -> None:
        """Score the batches of the chunk."""
        for index, offsets in zip(chunk.plan.order, chunk.plan.offsets, strict=True):
            self.val_scores.update(*self._forward(self.result, chunk.part, Plan(index, offsets, None)))

    def on_validation_epoch_end(self) -> None:
        """Log the epoch's validation scores."""
        self._log_scores(self.val_scores, "val_")

    def _forward(self, model: nn.Module, part: Part, batch: Plan) -> tuple[Tensor, Tensor]:
        """Logits, float32 of shape (N, 10), and targets, int64 of shape (N,), of one batch."""
        images = part.windows[batch.order, batch.offsets[:, 0], batch.offsets[:, 1]]
        if batch.matrices is not None:
            images = warp(images, batch.matrices)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            logits = model(normalize(images))
        return logits.float(), part.labels[batch.order]

    def _step_on(self, part: Part) -> Step:
        """The optimizer's step for one batch of a part."""
        optimizer = self._optimizer()
        # Lightning brings a checkpoint's moments to the device, but not its rate.
        lr = optimizer.param_groups[0]["lr"] = optimizer.param_groups[0]["lr"].to(self.device)
        follow = get_ema_multi_avg_fn(self.ema)
        averaged, current = _numbers(self.average), _numbers(self.model)

        def step(batch: Plan, rate: Tensor) -> Tensor:
            lr.copy_(rate)
            optimizer.zero_grad()
            logits, target = self._forward(self.model, part, batch)
            loss = F.cross_entropy(logits, target, label_smoothing=self.label_smoothing)
            loss.backward()
            optimizer.step()
            if self.average is not None:
                follow(averaged, current, None)
            return logits.detach()

        return step

    def _changing(self) -> list[Tensor]:
        """Every tensor that a step changes; the optimizer's, which its first step adds, come last."""
        moments = [value for state in self._optimizer().state.values() for value in state.values()]
        return [*self.model.state_dict().values(), *_numbers(self.average), *moments]

    def _optimizer(self) -> torch.optim.Optimizer:
        return cast(torch.optim.Optimizer, self.optimizers(use_pl_optimizer=False))

    def _log_scores(self, scores: EpochScores, prefix: str) -> None:
        for name, value in scores.compute().items():
            self._log(prefix + name, value)
        scores.reset()

    def _log(self, name: str, value: Tensor | float) -> None:
        """Log a value of the whole epoch, which Lightning must not average over anything."""
        self.log(name, value, on_step=False, on_epoch=True, batch_size=1)


def _numbers(module: nn.Module | None) -> list[Tensor]:
    """Weights and running statistics of a network, not its counters; none of none."""
    return [] if module is None else [tensor for tensor in module.state_dict().values() if tensor.is_floating_point()]
