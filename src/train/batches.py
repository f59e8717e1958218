"""Batches as selections from images that lie on the device; a function of (seed, epoch) alone."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from src.train.augmentation import Augmentation


@dataclass(frozen=True)
class Part:
    """One part of the data, on the device.

    Attributes:
        windows: All images with all their shifts, uint8 of shape (N, 2s + 1, 2s + 1, 28, 28): `augmentation.windows`.
        labels: int64 of shape (N,).
    """

    windows: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Plan:
    """Which images are used, in which order, and how each is moved; on the device.

    Attributes:
        order: Indices of images, int64; shape (size,) for a whole epoch, (steps, batch_size) in a chunk.
        offsets: Corner of each image's window, int64, shape of `order` and 2.
        matrices: Rotation and scale of each image, float32, shape of `order` and (2, 3); None: no resampling.
    """

    order: Tensor
    offsets: Tensor
    matrices: Tensor | None

    def tensors(self) -> list[Tensor]:
        """The tensors that are there."""
        return [tensor for tensor in (self.order, self.offsets, self.matrices) if tensor is not None]

    def map(self, function: Callable[[Tensor], Tensor]) -> "Plan":
        """Apply a function to each tensor that is there."""
        matrices = None if self.matrices is None else function(self.matrices)
        return Plan(function(self.order), function(self.offsets), matrices)


@dataclass(frozen=True)
class Chunk:
    """Consecutive batches of one size, handed to the trainer in one go.

    Attributes:
        part: What the plan selects from.
        plan: The batches, order of shape (steps, batch_size).
        first_step: Number of the first batch, counted from 0 over all epochs.
    """

    part: Part
    plan: Plan
    first_step: int


class Chunks:
    """One pass over a plan; an iterable of `Chunk` with a length, as Lightning wants it."""

    def __init__(self, part: Part, plan: Plan, batch_size: int, chunk_steps: int, first_step: int = 0) -> None:
        """Cut a plan into chunks.

        Args:
            part: What the plan selects from.
            plan: Order of shape (size,).
            batch_size: Images in a batch; the last batch holds what remains and is a chunk of its own.
            chunk_steps: Most batches in a chunk.
            first_step: Number of the pass's first batch, counted over all epochs.
        """
        self.part, self.plan, self.batch_size, self.first_step = part, plan, batch_size, first_step
        size = len(plan.order)
        whole = size // batch_size
        # (step within the pass, steps, batch size) of each chunk
        self.cuts = [(step, min(chunk_steps, whole - step), batch_size) for step in range(0, whole, chunk_steps)]
        if rest := size % batch_size:
            self.cuts.append((whole, 1, rest))

    def __len__(self) -> int:
        return len(self.cuts)

    def __iter__(self) -> Iterator[Chunk]:
        return (self._chunk(*cut) for cut in self.cuts)

    def _chunk(self, step: int, steps: int, batch_size: int) -> Chunk:
        start = step * self.batch_size
        images = slice(start, start + steps * batch_size)
        plan = self.plan.map(lambda tensor: tensor[images].unflatten(0, (steps, batch_size)))
        return Chunk(self.part, plan, self.first_step + step)


def epoch_plan(size: int, seed: int, epoch: int, augmentation: Augmentation) -> Plan:
    """What an epoch does with `size` images: a random order and random movements, a function of (seed, epoch) alone."""
    generator = np.random.default_rng([seed, epoch])
    order = torch.from_numpy(generator.permutation(size))
    return Plan(order, *augmentation.draw(generator, size))


def plain_plan(size: int, shift: int) -> Plan:
    """All images in their own order, unmoved; `shift` as in the windows that are selected from."""
    return Plan(torch.arange(size), torch.full((size, 2), shift), None)
