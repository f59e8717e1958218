import numpy as np
import pytest
import torch

from src.mnist.model.shifts import windows
from src.mnist.train.augmentation import Augmentation, warp
from tests.conftest import random_examples

IMAGES = torch.from_numpy(random_examples(5).images)


def draw(augmentation: Augmentation, size: int = 2000, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor | None]:
    return augmentation.draw(np.random.default_rng(seed), size)


def rotation(degrees: float, zoom: float = 1.0) -> torch.Tensor:
    cos, sin = np.cos(np.deg2rad(degrees)) / zoom, np.sin(np.deg2rad(degrees)) / zoom
    return torch.tensor([[cos, -sin, 0], [sin, cos, 0]], dtype=torch.float32).expand(len(IMAGES), 2, 3)


def test_nothing_is_moved_by_default() -> None:
    offsets, matrices = draw(Augmentation())
    assert offsets.abs().max() == 0
    assert matrices is None


def test_the_middle_window_is_the_image() -> None:
    assert torch.equal(windows(IMAGES, 3)[:, 3, 3], IMAGES)


@pytest.mark.parametrize(("down", "right"), [(0, 0), (1, 2), (4, 0), (3, 4)])
def test_a_window_is_the_image_moved_over_background(down: int, right: int) -> None:
    padded = np.pad(IMAGES.numpy(), ((0, 0), (2, 2), (2, 2)))
    expected = padded[:, down : down + 28, right : right + 28]
    np.testing.assert_array_equal(windows(IMAGES, 2)[:, down, right].numpy(), expected)


def test_windows_take_no_memory_of_their_own() -> None:
    assert windows(IMAGES, 2).untyped_storage().nbytes() == 5 * 32 * 32


def test_all_shifts_are_drawn_evenly() -> None:
    offsets, matrices = draw(Augmentation(shift=2), size=25_000)
    assert matrices is None
    counts = np.bincount((offsets[:, 0] * 5 + offsets[:, 1]).numpy(), minlength=25)
    assert len(counts) == 25
    assert abs(counts - 1000).max() < 200


def test_rotation_and_scale_stay_within_their_limits() -> None:
    _, matrices = draw(Augmentation(rotation=15.0, scale=0.2))
    assert matrices is not None
    cos, sin = matrices[:, 0, 0].double(), matrices[:, 1, 0].double()
    degrees, zoom = torch.rad2deg(torch.atan2(sin, cos)), 1 / torch.hypot(cos, sin)
    assert 14.5 < degrees.max() <= 15.0001
    assert -15.0001 <= degrees.min() < -14.5
    assert 1.19 < zoom.max() <= 1.2001
    assert 0.7999 <= zoom.min() < 0.81
    assert torch.equal(matrices[:, 0, 1], -matrices[:, 1, 0])
    assert matrices[:, :, 2].abs().max() == 0


def test_a_draw_is_a_function_of_the_generator() -> None:
    augmentation = Augmentation(2, 10.0, 0.1)
    for first, second in zip(draw(augmentation), draw(augmentation), strict=True):
        assert first is not None
        assert second is not None
        assert torch.equal(first, second)
    assert not torch.equal(draw(augmentation)[0], draw(augmentation, seed=1)[0])


def test_no_warp_leaves_the_image() -> None:
    torch.testing.assert_close(warp(IMAGES, rotation(0)), IMAGES.float(), rtol=0, atol=1e-2)


def test_a_quarter_turn_is_exact() -> None:
    torch.testing.assert_close(warp(IMAGES, rotation(90)), IMAGES.rot90(1, (1, 2)).float(), rtol=0, atol=1e-2)


def test_enlarging_keeps_the_middle_and_loses_the_border() -> None:
    picture = torch.zeros(5, 28, 28, dtype=torch.uint8)
    picture[:, 10:18, 10:18] = 255
    assert warp(picture, rotation(0, zoom=1.25)).sum() == pytest.approx(1.25**2 * picture.sum().item(), rel=0.05)
    assert warp(picture, rotation(0, zoom=0.8)).sum() == pytest.approx(0.8**2 * picture.sum().item(), rel=0.05)


def test_beyond_the_edge_is_background() -> None:
    white = torch.full((5, 28, 28), 255, dtype=torch.uint8)
    assert warp(white, rotation(45))[:, 0, 0].max() == 0
