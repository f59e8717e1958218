import numpy as np
import pytest
import torch

from src.mnist.model.network import shifted_views
from tests.conftest import random_examples

IMAGES = torch.from_numpy(random_examples(5).images)


def test_the_middle_view_is_the_image() -> None:
    assert torch.equal(shifted_views(IMAGES, 3)[:, 3, 3], IMAGES)


@pytest.mark.parametrize(("down", "right"), [(0, 0), (1, 2), (4, 0), (3, 4)])
def test_a_view_is_the_image_moved_over_background(down: int, right: int) -> None:
    padded = np.pad(IMAGES.numpy(), ((0, 0), (2, 2), (2, 2)))
    expected = padded[:, down : down + 28, right : right + 28]
    np.testing.assert_array_equal(shifted_views(IMAGES, 2)[:, down, right].numpy(), expected)


def test_views_take_no_memory_of_their_own() -> None:
    assert shifted_views(IMAGES, 2).untyped_storage().nbytes() == 5 * 32 * 32
