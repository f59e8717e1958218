"""Shards in one process, compared with a plain loop; test_distributed.py tests several processes."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from src.mnist.model.network import build_model, normalize
from src.mnist.train.shards import ShardedBackward
from tests.conftest import random_examples


def batch_of(size: int) -> tuple[Tensor, Tensor]:
    examples = random_examples(size)
    return normalize(torch.from_numpy(examples.images)), torch.from_numpy(examples.labels).long()


def forward_of(model: nn.Module, size: int, shards: int = 1) -> Callable[[int], tuple[Tensor, Tensor]]:
    parts = [tensor.tensor_split(shards) for tensor in batch_of(size)]

    def forward(shard: int) -> tuple[Tensor, Tensor]:
        x, labels = (part[shard] for part in parts)
        logits = model(x)
        return logits, F.cross_entropy(logits, labels)

    return forward


# Equal shards, unequal shards, and more shards than images.
@pytest.mark.parametrize(("size", "shards"), [(12, 4), (10, 4), (3, 4)])
def test_gradient_matches_the_whole_batch(size: int, shards: int) -> None:
    model = build_model("cnn", seed=0).to(memory_format=torch.channels_last)
    whole = copy.deepcopy(model)
    logits = ShardedBackward(model, size, shards).backward(forward_of(model, size, shards))
    expected, loss = forward_of(whole, size)(0)
    loss.backward()
    torch.testing.assert_close(logits, expected.detach())
    for own, other in zip(model.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(own.grad, other.grad, rtol=1e-4, atol=1e-7)
        # In the memory format of the weights, as the optimizer expects.
        assert own.grad is not None
        assert own.grad.stride() == own.stride()


@pytest.mark.parametrize(("size", "shards"), [(10, 4), (3, 4)])
def test_running_statistics_change_by_the_mean_over_shards(size: int, shards: int) -> None:
    model = build_model("resnet", seed=0)
    alone = [copy.deepcopy(model) for _ in range(shards)]
    ShardedBackward(model, size, shards).backward(forward_of(model, size, shards))
    sizes = [len(part) for part in torch.empty(size).tensor_split(shards)]
    for number, other in enumerate(alone):
        if sizes[number]:
            forward_of(other, size, shards)(number)
    for name, buffer in model.named_buffers():
        others = [dict(other.named_buffers())[name] for other in alone]
        if buffer.is_floating_point():
            expected = sum(number / size * other for other, number in zip(others, sizes, strict=True))
            torch.testing.assert_close(buffer, expected)
        else:
            assert buffer == others[0] == 1


class Odd(nn.Module):
    """A network with unused and frozen weights, a constant, and flags, two of which every pass sets."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.unused = nn.Linear(784, 10), nn.Linear(3, 3)
        self.frozen = nn.Parameter(torch.ones(10), requires_grad=False)
        self.constant: Tensor
        self.register_buffer("constant", torch.tensor([0.1, 1 / 3]))
        self.flags: Tensor
        self.register_buffer("flags", torch.tensor([True, False, True]))

    def forward(self, x: Tensor) -> Tensor:
        self.flags[:2] = torch.tensor([False, True])
        return self.linear(x.flatten(1)) * self.frozen + self.constant.sum()


def test_unused_weights_and_constants_are_unchanged() -> None:
    model = Odd()
    sharded = ShardedBackward(model, 6, 3)
    for _ in range(3):
        sharded.backward(forward_of(model, 6, 3))
    assert model.constant.tolist() == torch.tensor([0.1, 1 / 3]).tolist()
    assert model.flags.tolist() == [False, True, True]
    assert model.frozen.grad is None
    assert model.unused.weight.grad is not None
    assert not model.unused.weight.grad.any()
    model.frozen.requires_grad_()
    sharded.backward(forward_of(model, 6, 3))
    assert model.frozen.grad is not None
