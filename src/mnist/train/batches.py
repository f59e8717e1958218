"""From the training set to batches on the device: split, order and augmentation, decided by (seed, epoch) alone.

A batch's way: `TrainingData` lays all images on the device, `epoch_plan` draws which come when and how each is moved,
`Pass` cuts the plan into batches, and `Batches.load`, called within the training step, gives the network's input.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.nn import functional as F

from src.core.errors import UserError
from src.mnist.data.dataset import Examples
from src.mnist.model.network import normalize
from src.mnist.model.params import TrainParams
from src.mnist.model.shifts import shifted_views
from src.mnist.model.split import split_indices

# How many batches Lightning passes per call, which are one CUDA graph. A call costs about half a millisecond: little
# compared with sixteen steps on a CPU, and hidden behind them on a GPU. Results do not depend on the number.
BATCHES_PER_CALL = 16
VAL_BATCH_SIZE = 1000


@dataclass(frozen=True)
class BatchPlan:
    """Which images make up batches, in which order, and how each is moved.

    Attributes:
        indices: Indices of images, int64; shape (size,) for a whole epoch, (steps, batch_size) in `Batches`.
        offsets: Which of its shifted views each image is, int64, shape (*indices.shape, 2), values 0 to 2 * shift.
        matrices: Rotation and scale of each image about its centre, float32, shape (*indices.shape, 2, 3), as
            `F.affine_grid` takes them; None: no image is resampled.
    """

    indices: Tensor
    offsets: Tensor
    matrices: Tensor | None = None

    def tensors(self) -> list[Tensor]:
        """The two or three tensors."""
        return [tensor for tensor in (self.indices, self.offsets, self.matrices) if tensor is not None]

    def map(self, function: Callable[[Tensor], Tensor]) -> "BatchPlan":
        """Apply a function to each tensor."""
        return BatchPlan(*(function(tensor) for tensor in self.tensors()))


@dataclass(frozen=True)
class Batches:
    """Consecutive batches of one size, which Lightning passes in one call.

    Attributes:
        views: All images with all their shifts, uint8 of shape (N, 2s + 1, 2s + 1, 28, 28), from `shifted_views`.
        labels: Their classes, int64 of shape (N,).
        plan: Which of them make up the batches; its indices have the shape (steps, batch_size).
        first_step: Number of the first batch, counted from 0 over all epochs.
    """

    views: Tensor
    labels: Tensor
    plan: BatchPlan
    first_step: int = 0

    def load(self) -> tuple[Tensor, Tensor]:
        """The network's input, float32 of shape (steps, batch_size, 1, 28, 28), and labels (steps, batch_size)."""
        plan = self.plan.map(lambda tensor: tensor.flatten(0, 1))
        images = self.views[plan.indices, plan.offsets[:, 0], plan.offsets[:, 1]]
        if plan.matrices is not None:
            images = warp(images, plan.matrices)
        shape = self.plan.indices.shape
        return normalize(images).unflatten(0, shape), self.labels[self.plan.indices]


def epoch_plan(size: int, epoch: int, params: TrainParams) -> BatchPlan:
    """`size` images in random order, each randomly moved; depends only on (seed, epoch)."""
    generator = np.random.default_rng([params.seed, epoch])
    indices = torch.from_numpy(generator.permutation(size))
    offsets = torch.from_numpy(generator.integers(0, 2 * params.shift + 1, (size, 2)))
    if params.rotation == params.scale == 0:
        return BatchPlan(indices, offsets)
    angle = np.deg2rad(generator.uniform(-params.rotation, params.rotation, size))
    zoom = 1 + generator.uniform(-params.scale, params.scale, size)
    matrices = np.zeros((size, 2, 3), np.float32)
    matrices[:, 0, 0] = matrices[:, 1, 1] = np.cos(angle) / zoom
    matrices[:, 1, 0] = np.sin(angle) / zoom
    matrices[:, 0, 1] = -matrices[:, 1, 0]
    return BatchPlan(indices, offsets, torch.from_numpy(matrices))


def plan_in_order(size: int) -> BatchPlan:
    """`size` images in their own order, unmoved; for views without shifts."""
    return BatchPlan(torch.arange(size), torch.zeros(size, 2, dtype=torch.int64))


def warp(images: Tensor, matrices: Tensor) -> Tensor:
    """Resample images bilinearly, with background beyond their edges; any dtype (N, 28, 28) to float32."""
    pictures = images.unsqueeze(1).float()
    grid = F.affine_grid(matrices, list(pictures.shape), align_corners=False)
    return F.grid_sample(pictures, grid, align_corners=False).squeeze(1)


class Pass:
    """One pass over a plan: an iterable of `Batches` with a length, as Lightning expects of a loader."""

    def __init__(self, batches: Batches, batch_size: int, max_batches: int) -> None:
        """Cut a plan into batches.

        Args:
            batches: The whole pass; its plan's indices have the shape (size,).
            batch_size: Images in a batch; the last batch holds the remainder and comes alone.
            max_batches: Most batches in one call.
        """
        self.batches, self.batch_size = batches, batch_size
        full, remainder = divmod(len(batches.plan.indices), batch_size)
        # (step within the pass, steps, images in each) of every call.
        self.calls = [(step, min(max_batches, full - step), batch_size) for step in range(0, full, max_batches)]
        if remainder:
            self.calls.append((full, 1, remainder))

    def __len__(self) -> int:
        return len(self.calls)

    def __iter__(self) -> Iterator[Batches]:
        whole = self.batches
        for step, steps, size in self.calls:
            images = slice(step * self.batch_size, step * self.batch_size + steps * size)
            plan = whole.plan.map(lambda tensor: tensor[images].unflatten(0, (steps, size)))  # noqa: B023 - used at once
            yield Batches(whole.views, whole.labels, plan, whole.first_step + step)


class TrainingData(LightningDataModule):
    """The official training set, split into train and validation; both are on the device as uint8."""

    def __init__(self, examples: Examples, params: TrainParams) -> None:
        """Split the training set.

        Raises:
            UserError: If a batch would hold more images than the training part has.
        """
        super().__init__()
        self.examples, self.params = examples, params
        self.train_indices, self.val_indices = split_indices(examples.labels, params.val_fraction, params.seed)
        if params.batch_size > len(self.train_indices):
            raise UserError(
                f"params.yaml: batch_size must be at most {len(self.train_indices)}, the number of training images, "
                f"got {params.batch_size}"
            )
        self.steps_per_epoch = -(-len(self.train_indices) // params.batch_size)

    def validation_set(self) -> tuple[Tensor, Tensor]:
        """The validation part on the CPU: images, uint8 of shape (N, 28, 28), and labels, int64 of shape (N,)."""
        images, labels = (array[self.val_indices] for array in (self.examples.images, self.examples.labels))
        return torch.from_numpy(images), torch.from_numpy(labels).long()

    def setup(self, stage: str) -> None:
        """Move everything to the trainer's device, once."""
        assert self.trainer is not None
        self.device = self.trainer.strategy.root_device

        def on_device(indices: np.ndarray, shift: int) -> tuple[Tensor, Tensor]:
            images, labels = self.examples.images[indices], self.examples.labels[indices]
            views = shifted_views(torch.from_numpy(images).to(self.device), shift)
            return views, torch.from_numpy(labels).long().to(self.device)

        self.train = on_device(self.train_indices, self.params.shift)
        self.val = on_device(self.val_indices, shift=0)

    def train_dataloader(self) -> Pass:
        """The current epoch's batches; the trainer asks again for each epoch."""
        assert self.trainer is not None
        epoch = self.trainer.current_epoch
        plan = epoch_plan(len(self.train_indices), epoch, self.params).map(self._to_device)
        batches = Batches(*self.train, plan, first_step=epoch * self.steps_per_epoch)
        return Pass(batches, self.params.batch_size, BATCHES_PER_CALL)

    def val_dataloader(self) -> Pass:
        """The validation part in its own order."""
        size = len(self.val_indices)
        plan = plan_in_order(size).map(self._to_device)
        return Pass(Batches(*self.val, plan), VAL_BATCH_SIZE, max_batches=size)

    def _to_device(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.device)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Batches are on the device already."""
        return batch
