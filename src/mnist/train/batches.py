"""Batches on the device: split, order and augmentation, which depend only on (seed, epoch).

`TrainingData` moves all images to the device, `epoch_plan` draws their order and augmentation, `in_calls` cuts the plan
into batches, and `Batches.load`, called within the training step, returns the network's input.
"""

from typing import NamedTuple

import numpy as np
import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.nn import functional as F

from src.core.errors import UserError
from src.mnist.data.dataset import Examples
from src.mnist.model.network import normalize, shifted_views
from src.mnist.model.params import TrainParams
from src.mnist.model.seeds import seed_generators
from src.mnist.model.split import split_indices

# Batches that Lightning passes per call; on CUDA, they form one graph. A call costs about half a millisecond: little
# compared with sixteen steps on a CPU, and hidden behind them on a GPU. Results do not depend on this number.
BATCHES_PER_CALL = 16
VAL_BATCH_SIZE = 1000
# For each image, in order: its index, int64; the index of its shifted view, int64 (2,), 0 to 2 * shift; and, if images
# are resampled, rotation and scale about the centre, float32 (2, 3), in the form of `F.affine_grid`.
Plan = tuple[Tensor, ...]


class Batches(NamedTuple):
    """Consecutive batches of one size, which Lightning passes in a single call.

    Attributes:
        views: All images with all their shifts, uint8 of shape (N, 2s + 1, 2s + 1, 28, 28), from `shifted_views`.
        labels: Classes of all images, int64 of shape (N,).
        plan: The images of the batches and their augmentation; each tensor's shape starts with (steps, batch_size).
        first_step: Index of the first batch, counted over all epochs.
    """

    views: Tensor
    labels: Tensor
    plan: Plan
    first_step: int

    def load(self) -> tuple[Tensor, Tensor]:
        """Return the network's input, float32 (steps, batch_size, 1, 28, 28), and labels (steps, batch_size)."""
        shape = self.plan[0].shape
        indices, offsets, *matrices = (tensor.flatten(0, 1) for tensor in self.plan)
        images = self.views[indices, offsets[:, 0], offsets[:, 1]]
        if matrices:
            images = warp(images, *matrices)
        return normalize(images).unflatten(0, shape), self.labels[self.plan[0]]


def epoch_plan(size: int, epoch: int, params: TrainParams) -> Plan:
    """Draw a random order and random augmentations of `size` images; the draw depends only on (seed, epoch)."""
    generator = np.random.default_rng([params.seed, epoch])
    indices = torch.from_numpy(generator.permutation(size))
    offsets = torch.from_numpy(generator.integers(0, 2 * params.shift + 1, (size, 2)))
    if params.rotation == params.scale == 0:
        return indices, offsets
    angle = np.deg2rad(generator.uniform(-params.rotation, params.rotation, size))
    zoom = 1 + generator.uniform(-params.scale, params.scale, size)
    matrices = np.zeros((size, 2, 3), np.float32)
    matrices[:, 0, 0] = matrices[:, 1, 1] = np.cos(angle) / zoom
    matrices[:, 1, 0] = np.sin(angle) / zoom
    matrices[:, 0, 1] = -matrices[:, 1, 0]
    return indices, offsets, torch.from_numpy(matrices)


def warp(images: Tensor, matrices: Tensor) -> Tensor:
    """Resample images (N, 28, 28) of any dtype bilinearly to float32, with background beyond their edges."""
    pictures = images.unsqueeze(1).float()
    grid = F.affine_grid(matrices, list(pictures.shape), align_corners=False)
    return F.grid_sample(pictures, grid, align_corners=False).squeeze(1)


class Loader(list):
    """A list that Lightning treats as one loader; it treats a plain list as several."""


def in_calls(epoch: Batches, batch_size: int, max_batches: int) -> Loader:
    """Split an epoch, whose plan has the shape (images,), into `Batches` of at most `max_batches`.

    A remainder forms a smaller batch in a last call of its own.
    """
    full, remainder = divmod(len(epoch.plan[0]), batch_size)
    calls = [(step, min(max_batches, full - step), batch_size) for step in range(0, full, max_batches)]
    if remainder:
        calls.append((full, 1, remainder))
    loader = Loader()
    for step, steps, size in calls:
        start = step * batch_size
        plan = tuple(tensor[start : start + steps * size].unflatten(0, (steps, size)) for tensor in epoch.plan)
        loader.append(Batches(epoch.views, epoch.labels, plan, epoch.first_step + step))
    return loader


class TrainingData(LightningDataModule):
    """The official training set, split into train and validation.

    Attributes:
        val: Images, uint8 of shape (N, 28, 28), and labels, int64 of shape (N,); on the device after `setup`.
    """

    def __init__(self, examples: Examples, params: TrainParams) -> None:
        """Split the training set.

        Raises:
            UserError: If the batch size exceeds the size of the training part.
        """
        super().__init__()
        self.params = params
        self.train, self.val = (
            (torch.from_numpy(examples.images[part]), torch.from_numpy(examples.labels[part]).long())
            for part in split_indices(examples.labels, params.val_fraction, params.seed)
        )
        size = len(self.train[1])
        if params.batch_size > size:
            raise UserError(
                f"params.yaml: batch_size must be at most {size}, the number of training images, "
                f"got {params.batch_size}"
            )
        self.steps_per_epoch = -(-size // params.batch_size)

    def setup(self, stage: str) -> None:
        """Move all data to the trainer's device, once."""
        assert self.trainer is not None
        device = self.trainer.strategy.root_device
        (images, labels), (val_images, val_labels) = self.train, self.val
        self.train = shifted_views(images.to(device), self.params.shift), labels.to(device)
        self.val = val_images.to(device), val_labels.to(device)

    def train_dataloader(self) -> Loader:
        """Return the current epoch's `Batches`; the trainer calls this again for every epoch."""
        assert self.trainer is not None
        (views, labels), epoch = self.train, self.trainer.current_epoch
        # For plans of one's own: `epoch_plan` has a generator.
        seed_generators(int(np.random.SeedSequence([self.params.seed, epoch]).generate_state(1, np.uint64)[0]))
        plan = tuple(tensor.to(labels.device) for tensor in epoch_plan(len(labels), epoch, self.params))
        whole = Batches(views, labels, plan, first_step=epoch * self.steps_per_epoch)
        return in_calls(whole, self.params.batch_size, BATCHES_PER_CALL)

    def val_dataloader(self) -> Loader:
        """Return images and labels in their original order."""
        return Loader(zip(*(tensor.split(VAL_BATCH_SIZE) for tensor in self.val), strict=True))
