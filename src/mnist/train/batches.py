"""Batches as selections from images on the device; they depend only on (seed, epoch)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from src.mnist.train.augmentation import Augmentation, warp


@dataclass(frozen=True)
class Selection:
    """Which images are used, in which order, and how each is moved; on the device.

    Attributes:
        indices: Indices of images, int64; shape (size,) for a whole epoch, (steps, batch_size) in `Batches`.
        offsets: Corner of each image's window, int64, shape (*indices.shape, 2).
        matrices: Rotation and scale of each image, float32, shape (*indices.shape, 2, 3); None: no resampling.
    """

    indices: Tensor
    offsets: Tensor
    matrices: Tensor | None = None

    def tensors(self) -> list[Tensor]:
        """The two or three tensors."""
        return [tensor for tensor in (self.indices, self.offsets, self.matrices) if tensor is not None]

    def map(self, function: Callable[[Tensor], Tensor]) -> "Selection":
        """Apply a function to each tensor."""
        return Selection(*(function(tensor) for tensor in self.tensors()))


@dataclass(frozen=True)
class DeviceExamples:
    """Images with all their shifts, and labels, on the device.

    Attributes:
        windows: uint8 of shape (N, 2s + 1, 2s + 1, 28, 28), from `src.mnist.model.shifts.windows`.
        labels: int64 of shape (N,).
    """

    windows: Tensor
    labels: Tensor

    def images(self, selection: Selection) -> Tensor:
        """The images of one batch, moved: grey values of shape (batch_size, 28, 28)."""
        images = self.windows[selection.indices, selection.offsets[:, 0], selection.offsets[:, 1]]
        return images if selection.matrices is None else warp(images, selection.matrices)


@dataclass(frozen=True)
class Batches:
    """Consecutive batches of one size, which Lightning passes in one call.

    Attributes:
        examples: What is selected from.
        selection: Indices of shape (steps, batch_size).
        first_step: Number of the first batch, counted from 0 over all epochs.
    """

    examples: DeviceExamples
    selection: Selection
    first_step: int


class BatchLoader:
    """One pass over a selection: an iterable of `Batches` with a length, as Lightning expects."""

    def __init__(
        self, examples: DeviceExamples, selection: Selection, batch_size: int, max_batches: int, first_step: int = 0
    ) -> None:
        """Cut a selection into batches.

        Args:
            examples: What is selected from.
            selection: Indices of shape (size,).
            batch_size: Images in a batch; the last batch holds the remainder and comes alone.
            max_batches: Most batches in one `Batches`.
            first_step: Number of the pass's first batch, counted over all epochs.
        """
        self.examples, self.selection, self.batch_size, self.first_step = examples, selection, batch_size, first_step
        size = len(selection.indices)
        full = size // batch_size
        # (step within the pass, steps, batch size) of each `Batches`
        self.cuts = [(step, min(max_batches, full - step), batch_size) for step in range(0, full, max_batches)]
        if remainder := size % batch_size:
            self.cuts.append((full, 1, remainder))

    def __len__(self) -> int:
        return len(self.cuts)

    def __iter__(self) -> Iterator[Batches]:
        return (self._cut(*cut) for cut in self.cuts)

    def _cut(self, step: int, steps: int, batch_size: int) -> Batches:
        start = step * self.batch_size
        images = slice(start, start + steps * batch_size)
        selection = self.selection.map(lambda tensor: tensor[images].unflatten(0, (steps, batch_size)))
        return Batches(self.examples, selection, self.first_step + step)


def shuffled(size: int, seed: int, epoch: int, augmentation: Augmentation) -> Selection:
    """`size` images in random order, randomly moved; depends only on (seed, epoch)."""
    generator = np.random.default_rng([seed, epoch])
    indices = torch.from_numpy(generator.permutation(size))
    return Selection(indices, *augmentation.draw(generator, size))


def in_order(size: int) -> Selection:
    """`size` images in their own order, unmoved; for windows without shifts."""
    return Selection(torch.arange(size), torch.zeros(size, 2, dtype=torch.int64))
