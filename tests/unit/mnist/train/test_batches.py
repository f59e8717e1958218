from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from src.mnist.model.network import normalize, shifted_views
from src.mnist.model.params import TrainParams
from src.mnist.train.batches import Batches, Plan, epoch_plan, in_calls, warp
from tests.conftest import PARAMS, random_examples

SEEDS = st.integers(0, 2**32 - 1)
IMAGES = torch.from_numpy(random_examples(5).images)


def moving(**changes: Any) -> TrainParams:
    return PARAMS.model_copy(update={"shift": 2, "rotation": 10.0, "scale": 0.1} | changes)


def equal(a: Plan, b: Plan) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@given(SEEDS, st.integers(0, 100))
def test_plan_has_each_image_once_and_depends_only_on_seed_and_epoch(seed: int, epoch: int) -> None:
    plan = epoch_plan(60, epoch, moving(seed=seed))
    assert sorted(plan[0].tolist()) == list(range(60))
    torch.manual_seed(1)
    np.random.seed(1)
    assert equal(plan, epoch_plan(60, epoch, moving(seed=seed)))
    assert not equal(plan, epoch_plan(60, epoch + 1, moving(seed=seed)))
    assert not equal(plan, epoch_plan(60, epoch, moving(seed=seed + 1)))


def test_disabling_augmentation_keeps_the_order() -> None:
    indices, offsets, *_ = epoch_plan(60, 3, moving(shift=0, rotation=0.0, scale=0.0))
    assert torch.equal(indices, epoch_plan(60, 3, moving())[0])
    assert not offsets.any()


def test_shifts_are_drawn_uniformly() -> None:
    _, offsets, *_ = epoch_plan(25_000, 0, moving())
    counts = np.bincount((offsets[:, 0] * 5 + offsets[:, 1]).numpy(), minlength=25)
    assert len(counts) == 25
    assert abs(counts - 1000).max() < 200


def test_rotation_and_scale_stay_within_their_limits() -> None:
    *_, matrices = epoch_plan(2000, 0, moving(rotation=15.0, scale=0.2))
    cos, sin = matrices[:, 0, 0].double(), matrices[:, 1, 0].double()
    degrees, zoom = torch.rad2deg(torch.atan2(sin, cos)), 1 / torch.hypot(cos, sin)
    assert 14.5 < degrees.max() <= 15.0001
    assert -15.0001 <= degrees.min() < -14.5
    assert 1.19 < zoom.max() <= 1.2001
    assert 0.7999 <= zoom.min() < 0.81
    assert torch.equal(matrices[:, 0, 1], -matrices[:, 1, 0])
    assert matrices[:, :, 2].abs().max() == 0


def rotated(degrees: float, zoom: float = 1.0) -> Tensor:
    cos, sin = np.cos(np.deg2rad(degrees)) / zoom, np.sin(np.deg2rad(degrees)) / zoom
    return torch.tensor([[cos, -sin, 0], [sin, cos, 0]], dtype=torch.float32).expand(len(IMAGES), 2, 3)


@pytest.mark.parametrize("quarters", [0, 1])
def test_rotation_by_quarter_turns_is_exact(quarters: int) -> None:
    expected = IMAGES.rot90(quarters, (1, 2)).float()
    torch.testing.assert_close(warp(IMAGES, rotated(90 * quarters)), expected, rtol=0, atol=1e-2)


@pytest.mark.parametrize("zoom", [1.25, 0.8])
def test_zoom_scales_the_area(zoom: float) -> None:
    picture = torch.zeros(5, 28, 28, dtype=torch.uint8)
    picture[:, 10:18, 10:18] = 255
    assert warp(picture, rotated(0, zoom)).sum() == pytest.approx(zoom**2 * picture.sum().item(), rel=0.05)


def test_warp_fills_with_background() -> None:
    white = torch.full((5, 28, 28), 255, dtype=torch.uint8)
    assert warp(white, rotated(45))[:, 0, 0].max() == 0


def batches_of(size: int, plan: Plan, shift: int = 0, first_step: int = 0) -> Batches:
    split = random_examples(size)
    views = shifted_views(torch.from_numpy(split.images), shift)
    return Batches(views, torch.from_numpy(split.labels).long(), plan, first_step)


@given(st.integers(1, 100), st.integers(1, 30), st.integers(1, 8), st.integers(0, 1000))
def test_epoch_is_split_into_batches(size: int, batch_size: int, most: int, first_step: int) -> None:
    plan = epoch_plan(size, 0, moving())
    calls = in_calls(batches_of(size, plan, 2, first_step), batch_size, most)
    for number, tensor in enumerate(plan):
        assert torch.equal(torch.cat([call.plan[number].flatten(0, 1) for call in calls]), tensor)
    sizes = [len(batch) for call in calls for batch in call.plan[0]]
    assert sizes == [batch_size] * (size // batch_size) + ([size % batch_size] if size % batch_size else [])
    steps = [len(call.plan[0]) for call in calls]
    assert max(steps) <= most
    assert [call.first_step for call in calls] == (first_step + np.cumsum([0, *steps])[:-1]).tolist()


def test_loaded_images_are_augmented_and_normalised() -> None:
    images, indices, down, right = random_examples(6).images, [[4, 0, 4]], [[0, 3, 6]], [[6, 3, 1]]
    plan = torch.tensor(indices), torch.stack([torch.tensor(down), torch.tensor(right)], dim=-1)
    padded = np.pad(images, ((0, 0), (3, 3), (3, 3)))
    expected = [padded[i, y : y + 28, x : x + 28] for i, y, x in zip(indices[0], down[0], right[0], strict=True)]
    x, labels = batches_of(6, plan, shift=3).load()
    assert torch.equal(x[0], normalize(torch.from_numpy(np.array(expected))))
    assert labels.tolist() == [random_examples(6).labels[indices[0]].tolist()]
    turned = torch.tensor([[0.0, -1, 0], [1, 0, 0]]).expand(1, 3, 2, 3)
    x, _ = batches_of(6, (*plan, turned), shift=3).load()
    turned_back = normalize(torch.from_numpy(np.rot90(expected, axes=(1, 2)).copy()))
    torch.testing.assert_close(x[0], turned_back, rtol=0, atol=1e-3)
