import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from src.model.shifts import windows
from src.train.augmentation import Augmentation
from src.train.batches import Chunks, Part, Plan, epoch_plan, plain_plan
from tests.conftest import random_split

MOVING = Augmentation(shift=2, rotation=10.0, scale=0.1)
SEEDS = st.integers(0, 2**32 - 1)


def part_of(size: int) -> Part:
    split = random_split(size)
    return Part(windows(torch.from_numpy(split.images), 0), torch.from_numpy(split.labels).long())


def equal(a: Plan, b: Plan) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.tensors(), b.tensors(), strict=True))


@given(st.integers(1, 200), SEEDS, st.integers(0, 100))
def test_each_image_is_used_once_an_epoch(size: int, seed: int, epoch: int) -> None:
    order = epoch_plan(size, seed, epoch, MOVING).order
    assert sorted(order.tolist()) == list(range(size))


@given(SEEDS, st.integers(0, 100))
def test_a_plan_is_a_function_of_seed_and_epoch(seed: int, epoch: int) -> None:
    plan = epoch_plan(60, seed, epoch, MOVING)
    torch.manual_seed(1)
    np.random.seed(1)
    assert equal(plan, epoch_plan(60, seed, epoch, MOVING))
    assert not equal(plan, epoch_plan(60, seed, epoch + 1, MOVING))
    assert not equal(plan, epoch_plan(60, seed + 1, epoch, MOVING))


def test_augmentation_leaves_the_order_alone() -> None:
    assert torch.equal(epoch_plan(60, 5, 3, MOVING).order, epoch_plan(60, 5, 3, Augmentation()).order)


@given(st.integers(1, 100), st.integers(1, 30), st.integers(1, 8), st.integers(0, 1000))
def test_chunks_are_the_plan_in_batches(size: int, batch_size: int, chunk_steps: int, first_step: int) -> None:
    plan = epoch_plan(size, 0, 0, MOVING)
    chunks = Chunks(part_of(size), plan, batch_size, chunk_steps, first_step)
    seen = list(chunks)
    assert len(seen) == len(chunks)
    batches = [batch for chunk in seen for batch in chunk.plan.order]
    assert torch.equal(torch.cat(batches), plan.order)
    assert torch.equal(torch.cat([chunk.plan.offsets.flatten(0, 1) for chunk in seen]), plan.offsets)
    assert [len(batch) for batch in batches[:-1]] == [batch_size] * (len(batches) - 1)
    assert len(batches[-1]) == (size % batch_size or batch_size)
    assert all(len(chunk.plan.order) <= chunk_steps for chunk in seen)
    steps = np.cumsum([0, *(len(chunk.plan.order) for chunk in seen)])
    assert [chunk.first_step for chunk in seen] == (first_step + steps[:-1]).tolist()


def test_a_pass_can_be_repeated() -> None:
    chunks = Chunks(part_of(10), plain_plan(10, 0), 4, 2)
    first, second = ([chunk.plan.order.tolist() for chunk in chunks] for _ in range(2))
    assert first == second == [[[0, 1, 2, 3], [4, 5, 6, 7]], [[8, 9]]]


@pytest.mark.parametrize("shift", [0, 3])
def test_the_plain_plan_moves_nothing(shift: int) -> None:
    images = torch.from_numpy(random_split(6).images)
    plan = plain_plan(6, shift)
    assert plan.matrices is None
    selected = windows(images, shift)[plan.order, plan.offsets[:, 0], plan.offsets[:, 1]]
    assert torch.equal(selected, images)
