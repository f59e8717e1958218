"""Shards in one process, held against a plain loop; several processes are in test_distributed.py."""

import copy
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from src.mnist.model.network import build_model, normalize
from src.mnist.train.shards import ShardedBackward, shard_slices
from tests.conftest import random_examples


@given(st.integers(1, 300), st.integers(1, 64))
def test_shards_hold_each_image_once_and_are_as_equal_as_possible(size: int, shards: int) -> None:
    images = list(range(size))
    parts = [images[part] for part in shard_slices(size, shards)]
    assert len(parts) == shards
    assert [image for part in parts for image in part] == images
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    assert sizes == sorted(sizes, reverse=True)


def batch_of(size: int) -> tuple[Tensor, Tensor]:
    examples = random_examples(size)
    return normalize(torch.from_numpy(examples.images)), torch.from_numpy(examples.labels).long()


def forward_of(model: nn.Module, size: int) -> Callable[[int, slice], tuple[Tensor, Tensor]]:
    x, labels = batch_of(size)

    def forward(_: int, part: slice) -> tuple[Tensor, Tensor]:
        logits = model(x[part])
        return logits, F.cross_entropy(logits, labels[part])

    return forward


# Equal shards, unequal ones, and more shards than images.
@pytest.mark.parametrize(("size", "shards"), [(12, 4), (10, 4), (3, 4)])
def test_the_gradient_is_that_of_the_mean_over_the_batch(size: int, shards: int) -> None:
    model = build_model("cnn", seed=0).to(memory_format=torch.channels_last)
    whole = copy.deepcopy(model)
    logits = ShardedBackward(model, size, shards).backward(forward_of(model, size))
    expected, loss = forward_of(whole, size)(0, slice(None))
    loss.backward()
    torch.testing.assert_close(logits, expected.detach())
    for own, other in zip(model.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(own.grad, other.grad, rtol=1e-4, atol=1e-7)
        # In the memory format of the weights, as the optimizer wants it.
        assert own.grad is not None
        assert own.grad.stride() == own.stride()


@pytest.mark.parametrize(("size", "shards"), [(10, 4), (3, 4)])
def test_running_statistics_move_by_the_mean_of_what_the_shards_move_them_by(size: int, shards: int) -> None:
    model = build_model("resnet", seed=0)
    alone = [copy.deepcopy(model) for _ in range(shards)]
    ShardedBackward(model, size, shards).backward(forward_of(model, size))
    slices = shard_slices(size, shards)
    for other, part in zip(alone, slices, strict=True):
        if part.stop > part.start:
            forward_of(other, size)(0, part)
    for name, buffer in model.named_buffers():
        others = [dict(other.named_buffers())[name] for other in alone]
        if buffer.is_floating_point():
            expected = sum((part.stop - part.start) / size * other for other, part in zip(others, slices, strict=True))
            torch.testing.assert_close(buffer, expected)
        else:
            assert buffer == others[0] == 1


class Odd(nn.Module):
    """A network with weights that are not used or not trained, and a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.unused = nn.Linear(784, 10), nn.Linear(3, 3)
        self.frozen = nn.Parameter(torch.ones(10), requires_grad=False)
        self.constant: Tensor
        self.register_buffer("constant", torch.tensor([0.1, 1 / 3]))

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.flatten(1)) * self.frozen + self.constant.sum()


def test_what_no_shard_changes_stays_as_it_is() -> None:
    model = Odd()
    sharded = ShardedBackward(model, 6, 3)
    for _ in range(3):
        sharded.backward(forward_of(model, 6))
    assert model.constant.tolist() == torch.tensor([0.1, 1 / 3]).tolist()
    assert model.frozen.grad is None
    assert model.unused.weight.grad is not None
    assert not model.unused.weight.grad.any()
