"""The gradient of a batch that is cut into a fixed number of shards, independent of which process computes which.

A floating-point sum depends on its order, which could make the weights depend on the number of processes. Here, a shard
is always computed as a whole, and every process adds the results of all shards in the order of the shards.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from src.mnist.data.dataset import NUM_CLASSES
from src.mnist.train.distributed import rank_and_count

# Maps the index of a shard to the logits of its images, float32 of shape (images, 10), and their mean loss.
Forward = Callable[[int], tuple[Tensor, Tensor]]


class ShardedBackward:
    """Replaces `loss.backward()`.

    A batch is cut with `Tensor.tensor_split`: if the number of shards does not divide it, as in an epoch's last batch,
    the first shards get one more image; if there are fewer images than shards, the last shards are empty.
    The gradient is that of the mean loss over the whole batch: the mean over the shards, weighted by their sizes.
    Batch normalisation uses the statistics of each shard. Its running statistics, and all other buffers, change by the
    weighted mean of the shards' changes; whole numbers and flags are rounded.
    """

    def __init__(self, model: nn.Module, batch_size: int, shards: int) -> None:
        """Allocate the memory; the number of shards must be a multiple of the number of connected processes."""
        # Including frozen weights, which may be unfrozen later, before or after a resume.
        self.weights = list(model.parameters())
        self.buffers = list(model.buffers())
        rank, self.count = rank_and_count()
        self.sizes = [len(part) for part in torch.empty(batch_size).tensor_split(shards)]
        own = shards // self.count
        self.own = range(rank * own, (rank + 1) * own)
        # One row per shard, with its concatenated results: gradients, changes of the buffers, logits. One message per
        # step takes less time than one per tensor.
        self.averaged = [tensor.numel() for tensor in [*self.weights, *self.buffers]]
        length, device = sum(self.averaged) + max(self.sizes) * NUM_CLASSES, self.weights[0].device
        self.rows = torch.zeros(own, length, device=device)
        self.all_rows = self.rows if self.count == 1 else torch.zeros(shards, length, device=device)
        self.total = torch.zeros(sum(self.averaged), device=device)
        # In the memory format of the weights, as the optimizer expects.
        self.gradients = [torch.zeros_like(weight) for weight in self.weights]

    def backward(self, forward: Forward) -> Tensor:
        """Set the gradient of every weight and update the buffers.

        Returns:
            Logits of the whole batch, float32 of shape (batch_size, 10), in every process.
        """
        before = [buffer.clone() for buffer in self.buffers]
        for row, number in zip(self.rows, self.own, strict=True):
            self._compute(row, number, before, forward)
        if self.count > 1:
            torch.distributed.all_gather_into_tensor(self.all_rows, self.rows)
        self._combine(before)
        logits = self.all_rows[:, len(self.total) :].unflatten(1, (-1, NUM_CLASSES))
        return torch.cat([row[:size] for row, size in zip(logits, self.sizes, strict=True)])

    def _compute(self, row: Tensor, number: int, before: list[Tensor], forward: Forward) -> None:
        """Write the results of one shard into its row."""
        row.zero_()
        if self.sizes[number] == 0:
            return
        for buffer, value in zip(self.buffers, before, strict=True):
            buffer.copy_(value)
        for weight in self.weights:
            weight.grad = None
        logits, loss = forward(number)
        loss.backward()
        gradients = [torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in self.weights]
        # Adding 0 turns flags into integers; torch cannot subtract flags.
        moved = [buffer + 0 - (value + 0) for buffer, value in zip(self.buffers, before, strict=True)]
        results = [*gradients, *moved, logits.detach()]
        content = torch.cat([tensor.flatten().float() for tensor in results])
        row[: len(content)].copy_(content)

    def _combine(self, before: list[Tensor]) -> None:
        """Add the rows in the order of the shards, and set gradients and buffers."""
        self.total.zero_()
        for row, size in zip(self.all_rows, self.sizes, strict=True):
            self.total.add_(row[: len(self.total)], alpha=size / sum(self.sizes))
        parts = self.total.split(self.averaged)
        for weight, gradient, part in zip(self.weights, self.gradients, parts, strict=False):
            weight.grad = gradient.copy_(part.view_as(weight)) if weight.requires_grad else None
        for buffer, value, move in zip(self.buffers, before, parts[len(self.weights) :], strict=True):
            number, change = value + 0, move.view_as(buffer)
            buffer.copy_(number + (change if buffer.is_floating_point() else change.round()).to(number.dtype))
