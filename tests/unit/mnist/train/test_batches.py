import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from src.mnist.model.shifts import windows
from src.mnist.train.augmentation import Augmentation
from src.mnist.train.batches import BatchLoader, DeviceExamples, Selection, in_order, shuffled
from tests.conftest import random_examples

MOVING = Augmentation(shift=2, rotation=10.0, scale=0.1)
SEEDS = st.integers(0, 2**32 - 1)


def examples_of(size: int) -> DeviceExamples:
    split = random_examples(size)
    return DeviceExamples(windows(torch.from_numpy(split.images), 0), torch.from_numpy(split.labels).long())


def equal(a: Selection, b: Selection) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.tensors(), b.tensors(), strict=True))


@given(st.integers(1, 200), SEEDS, st.integers(0, 100))
def test_each_image_is_used_once_an_epoch(size: int, seed: int, epoch: int) -> None:
    order = shuffled(size, seed, epoch, MOVING).indices
    assert sorted(order.tolist()) == list(range(size))


@given(SEEDS, st.integers(0, 100))
def test_a_selection_is_a_function_of_seed_and_epoch(seed: int, epoch: int) -> None:
    selection = shuffled(60, seed, epoch, MOVING)
    torch.manual_seed(1)
    np.random.seed(1)
    assert equal(selection, shuffled(60, seed, epoch, MOVING))
    assert not equal(selection, shuffled(60, seed, epoch + 1, MOVING))
    assert not equal(selection, shuffled(60, seed + 1, epoch, MOVING))


def test_augmentation_leaves_the_order_alone() -> None:
    assert torch.equal(shuffled(60, 5, 3, MOVING).indices, shuffled(60, 5, 3, Augmentation()).indices)


@given(st.integers(1, 100), st.integers(1, 30), st.integers(1, 8), st.integers(0, 1000))
def test_the_loader_cuts_the_selection_into_batches(size: int, batch_size: int, most: int, first_step: int) -> None:
    selection = shuffled(size, 0, 0, MOVING)
    loader = BatchLoader(examples_of(size), selection, batch_size, most, first_step)
    seen = list(loader)
    assert len(seen) == len(loader)
    batches = [batch for group in seen for batch in group.selection.indices]
    assert torch.equal(torch.cat(batches), selection.indices)
    assert torch.equal(torch.cat([group.selection.offsets.flatten(0, 1) for group in seen]), selection.offsets)
    assert [len(batch) for batch in batches[:-1]] == [batch_size] * (len(batches) - 1)
    assert len(batches[-1]) == (size % batch_size or batch_size)
    assert all(len(group.selection.indices) <= most for group in seen)
    steps = np.cumsum([0, *(len(group.selection.indices) for group in seen)])
    assert [group.first_step for group in seen] == (first_step + steps[:-1]).tolist()


def test_a_pass_can_be_repeated() -> None:
    loader = BatchLoader(examples_of(10), in_order(10), 4, 2)
    first, second = ([group.selection.indices.tolist() for group in loader] for _ in range(2))
    assert first == second == [[[0, 1, 2, 3], [4, 5, 6, 7]], [[8, 9]]]


def test_images_in_their_own_order_are_unmoved() -> None:
    examples = random_examples(6)
    selected = DeviceExamples(windows(torch.from_numpy(examples.images), 0), torch.arange(6)).images(in_order(6))
    np.testing.assert_array_equal(selected, examples.images)


def test_selected_images_are_moved() -> None:
    images, indices, down, right = random_examples(6).images, [4, 0, 4], [0, 3, 6], [6, 3, 1]
    examples = DeviceExamples(windows(torch.from_numpy(images), 3), torch.arange(6))
    selection = Selection(torch.tensor(indices), torch.tensor([down, right]).T)
    padded = np.pad(images, ((0, 0), (3, 3), (3, 3)))
    expected = [padded[i, y : y + 28, x : x + 28] for i, y, x in zip(indices, down, right, strict=True)]
    np.testing.assert_array_equal(examples.images(selection), expected)
    turned = torch.tensor([[0.0, -1, 0], [1, 0, 0]]).expand(3, 2, 3)
    rotated = examples.images(Selection(selection.indices, selection.offsets, turned))
    np.testing.assert_allclose(rotated, np.rot90(expected, axes=(1, 2)), atol=1e-2)
