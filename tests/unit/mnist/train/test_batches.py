from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor

from src.core.errors import UserError
from src.mnist.model.network import normalize
from src.mnist.model.params import TrainParams
from src.mnist.model.shifts import shifted_views
from src.mnist.model.split import split_indices
from src.mnist.train.batches import Batches, BatchPlan, Pass, TrainingData, epoch_plan, plan_in_order, warp
from tests.conftest import PARAMS, random_examples

SEEDS = st.integers(0, 2**32 - 1)
SPLIT = random_examples(203)
IMAGES = torch.from_numpy(random_examples(5).images)


def moving(**changes: Any) -> TrainParams:
    return PARAMS.model_copy(update={"shift": 2, "rotation": 10.0, "scale": 0.1} | changes)


def still(**changes: Any) -> TrainParams:
    return moving(shift=0, rotation=0.0, scale=0.0, **changes)


def equal(a: BatchPlan, b: BatchPlan) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.tensors(), b.tensors(), strict=True))


@given(st.integers(1, 200), SEEDS, st.integers(0, 100))
def test_each_image_is_used_once_an_epoch(size: int, seed: int, epoch: int) -> None:
    order = epoch_plan(size, epoch, moving(seed=seed)).indices
    assert sorted(order.tolist()) == list(range(size))


@given(SEEDS, st.integers(0, 100))
def test_a_plan_is_a_function_of_seed_and_epoch(seed: int, epoch: int) -> None:
    plan = epoch_plan(60, epoch, moving(seed=seed))
    torch.manual_seed(1)
    np.random.seed(1)
    assert equal(plan, epoch_plan(60, epoch, moving(seed=seed)))
    assert not equal(plan, epoch_plan(60, epoch + 1, moving(seed=seed)))
    assert not equal(plan, epoch_plan(60, epoch, moving(seed=seed + 1)))


def test_augmentation_leaves_the_order_alone() -> None:
    assert torch.equal(epoch_plan(60, 3, moving()).indices, epoch_plan(60, 3, still()).indices)


def test_without_augmentation_nothing_is_moved() -> None:
    plan = epoch_plan(60, 0, still())
    assert plan.offsets.abs().max() == 0
    assert plan.matrices is None


def test_all_shifts_are_drawn_evenly() -> None:
    offsets = epoch_plan(25_000, 0, still().model_copy(update={"shift": 2})).offsets
    counts = np.bincount((offsets[:, 0] * 5 + offsets[:, 1]).numpy(), minlength=25)
    assert len(counts) == 25
    assert abs(counts - 1000).max() < 200


def test_rotation_and_scale_stay_within_their_limits() -> None:
    matrices = epoch_plan(2000, 0, moving(rotation=15.0, scale=0.2)).matrices
    assert matrices is not None
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


def test_no_warp_leaves_the_image() -> None:
    torch.testing.assert_close(warp(IMAGES, rotated(0)), IMAGES.float(), rtol=0, atol=1e-2)


def test_a_quarter_turn_is_exact() -> None:
    torch.testing.assert_close(warp(IMAGES, rotated(90)), IMAGES.rot90(1, (1, 2)).float(), rtol=0, atol=1e-2)


def test_enlarging_keeps_the_middle_and_loses_the_border() -> None:
    picture = torch.zeros(5, 28, 28, dtype=torch.uint8)
    picture[:, 10:18, 10:18] = 255
    assert warp(picture, rotated(0, zoom=1.25)).sum() == pytest.approx(1.25**2 * picture.sum().item(), rel=0.05)
    assert warp(picture, rotated(0, zoom=0.8)).sum() == pytest.approx(0.8**2 * picture.sum().item(), rel=0.05)


def test_beyond_the_edge_is_background() -> None:
    white = torch.full((5, 28, 28), 255, dtype=torch.uint8)
    assert warp(white, rotated(45))[:, 0, 0].max() == 0


def batches_of(size: int, plan: BatchPlan, shift: int = 0, first_step: int = 0) -> Batches:
    split = random_examples(size)
    views = shifted_views(torch.from_numpy(split.images), shift)
    return Batches(views, torch.from_numpy(split.labels).long(), plan, first_step)


@given(st.integers(1, 100), st.integers(1, 30), st.integers(1, 8), st.integers(0, 1000))
def test_a_pass_cuts_the_plan_into_batches(size: int, batch_size: int, most: int, first_step: int) -> None:
    plan = epoch_plan(size, 0, moving())
    whole = Pass(batches_of(size, plan, 2, first_step), batch_size, most)
    seen = list(whole)
    assert len(seen) == len(whole)
    batches = [batch for group in seen for batch in group.plan.indices]
    assert torch.equal(torch.cat(batches), plan.indices)
    assert torch.equal(torch.cat([group.plan.offsets.flatten(0, 1) for group in seen]), plan.offsets)
    assert [len(batch) for batch in batches[:-1]] == [batch_size] * (len(batches) - 1)
    assert len(batches[-1]) == (size % batch_size or batch_size)
    assert all(len(group.plan.indices) <= most for group in seen)
    steps = np.cumsum([0, *(len(group.plan.indices) for group in seen)])
    assert [group.first_step for group in seen] == (first_step + steps[:-1]).tolist()


def test_a_pass_can_be_repeated() -> None:
    whole = Pass(batches_of(10, plan_in_order(10)), 4, 2)
    first, second = ([group.plan.indices.tolist() for group in whole] for _ in range(2))
    assert first == second == [[[0, 1, 2, 3], [4, 5, 6, 7]], [[8, 9]]]


def test_loaded_images_are_moved_and_normalised() -> None:
    images, indices, down, right = random_examples(6).images, [[4, 0, 4]], [[0, 3, 6]], [[6, 3, 1]]
    plan = BatchPlan(torch.tensor(indices), torch.stack([torch.tensor(down), torch.tensor(right)], dim=-1))
    padded = np.pad(images, ((0, 0), (3, 3), (3, 3)))
    expected = [padded[i, y : y + 28, x : x + 28] for i, y, x in zip(indices[0], down[0], right[0], strict=True)]
    x, labels = batches_of(6, plan, shift=3).load()
    assert torch.equal(x[0], normalize(torch.from_numpy(np.array(expected))))
    assert labels.tolist() == [random_examples(6).labels[indices[0]].tolist()]
    turned = torch.tensor([[0.0, -1, 0], [1, 0, 0]]).expand(1, 3, 2, 3)
    x, _ = batches_of(6, BatchPlan(plan.indices, plan.offsets, turned), shift=3).load()
    turned_back = normalize(torch.from_numpy(np.rot90(expected, axes=(1, 2)).copy()))
    torch.testing.assert_close(x[0], turned_back, rtol=0, atol=1e-3)


class Collector(LightningModule):
    """Keeps what it is given: network input and labels of each batch, by epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.train_batches: list[list[tuple[Tensor, Tensor]]] = []
        self.val_batches: list[tuple[Tensor, Tensor]] = []
        self.first_steps: list[int] = []

    def on_train_epoch_start(self) -> None:
        self.train_batches.append([])

    def training_step(self, batches: Batches, batch_idx: int) -> None:
        self.train_batches[-1] += zip(*batches.load(), strict=True)
        self.first_steps.append(batches.first_step)

    def validation_step(self, batches: Batches, batch_idx: int) -> None:
        self.val_batches += zip(*batches.load(), strict=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD([torch.zeros(1, requires_grad=True)])


def collect(epochs: int = 1, accelerator: str = "cpu", **changes: Any) -> Collector:
    collector = Collector()
    trainer = Trainer(
        accelerator=accelerator,
        devices=1,
        max_epochs=epochs,
        reload_dataloaders_every_n_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    params = PARAMS.model_copy(update={"val_fraction": 0.2, "batch_size": 16, "seed": 0, "shift": 0} | changes)
    trainer.fit(collector, datamodule=TrainingData(SPLIT, params))
    return collector


def joined(batches: list[tuple[Tensor, Tensor]]) -> list[tuple[bytes, int]]:
    return [
        (image.numpy().tobytes(), int(label)) for x, labels in batches for image, label in zip(x, labels, strict=True)
    ]


def pairs(indices: np.ndarray) -> list[tuple[bytes, int]]:
    return joined([(normalize(torch.from_numpy(SPLIT.images[indices])), torch.from_numpy(SPLIT.labels[indices]))])


def test_each_training_image_comes_once_an_epoch_with_its_label() -> None:
    collector, (train, _) = collect(epochs=2), split_indices(SPLIT.labels, 0.2, 0)
    for batches in collector.train_batches:
        assert sorted(joined(batches)) == sorted(pairs(train))


def test_the_last_batch_of_an_epoch_holds_what_remains() -> None:
    (train, _), collector = split_indices(SPLIT.labels, 0.2, 0), collect()
    sizes = [len(labels) for _, labels in collector.train_batches[0]]
    assert len(train) % 16 != 0
    assert sizes == [16] * (len(train) // 16) + [len(train) % 16]


def test_steps_are_counted_over_all_epochs() -> None:
    assert collect(epochs=3, batch_size=100).first_steps == [0, 1, 2, 3, 4, 5]


def test_validation_images_come_whole_and_in_their_own_order_and_unmoved() -> None:
    collector, (_, val) = collect(shift=2), split_indices(SPLIT.labels, 0.2, 0)
    assert joined(collector.val_batches) == pairs(val)


def test_a_batch_may_be_the_whole_training_part_and_no_more() -> None:
    train, _ = split_indices(SPLIT.labels, 0.2, 0)
    assert len(collect(batch_size=len(train)).train_batches[0]) == 1
    with pytest.raises(
        UserError, match=f"^params.yaml: batch_size must be at most {len(train)}, .*got {len(train) + 1}"
    ):
        collect(batch_size=len(train) + 1)


@pytest.mark.gpu
def test_batches_lie_on_the_device() -> None:
    collector = collect(accelerator="gpu")
    batches = collector.train_batches[0] + collector.val_batches
    assert {tensor.device.type for batch in batches for tensor in batch} == {"cuda"}
