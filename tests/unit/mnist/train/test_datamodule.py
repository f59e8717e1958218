import numpy as np
import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor

from src.core.errors import UserError
from src.mnist.data.dataset import Examples
from src.mnist.model.split import split_indices
from src.mnist.train import datamodule
from src.mnist.train.augmentation import Augmentation
from src.mnist.train.batches import Batches, Selection
from src.mnist.train.datamodule import TrainingData
from tests.conftest import random_examples

SPLIT = random_examples(203)


class Collector(LightningModule):
    """Keeps what it is given: images and labels of each batch, by epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.train_batches: list[list[tuple[Tensor, Tensor]]] = []
        self.val_batches: list[tuple[Tensor, Tensor]] = []
        self.first_steps: list[int] = []

    def on_train_epoch_start(self) -> None:
        self.train_batches.append([])

    def training_step(self, batches: Batches, batch_idx: int) -> None:
        self.train_batches[-1] += split_up(batches)
        self.first_steps.append(batches.first_step)

    def validation_step(self, batches: Batches, batch_idx: int) -> None:
        self.val_batches += split_up(batches)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD([torch.zeros(1, requires_grad=True)])


def split_up(batches: Batches) -> list[tuple[Tensor, Tensor]]:
    selection = zip(batches.selection.indices, batches.selection.offsets, strict=True)
    return [
        (batches.examples.images(Selection(indices, offsets)), batches.examples.labels[indices])
        for indices, offsets in selection
    ]


def collect(
    split: Examples = SPLIT,
    batch_size: int = 16,
    seed: int = 0,
    epochs: int = 1,
    shift: int = 0,
    accelerator: str = "cpu",
) -> Collector:
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
    trainer.fit(collector, datamodule=TrainingData(split, 0.2, batch_size, seed, Augmentation(shift)))
    return collector


def joined(batches: list[tuple[Tensor, Tensor]]) -> list[tuple[bytes, int]]:
    return [
        (image.numpy().tobytes(), int(label))
        for images, labels in batches
        for image, label in zip(images, labels, strict=True)
    ]


def pairs(indices: np.ndarray) -> list[tuple[bytes, int]]:
    return [(SPLIT.images[i].tobytes(), int(SPLIT.labels[i])) for i in indices]


def test_each_training_image_comes_once_an_epoch_with_its_label() -> None:
    collector, (train, _) = collect(epochs=2), split_indices(SPLIT.labels, 0.2, 0)
    for batches in collector.train_batches:
        assert sorted(joined(batches)) == sorted(pairs(train))


def test_the_last_batch_of_an_epoch_holds_what_remains() -> None:
    (train, _), collector = split_indices(SPLIT.labels, 0.2, 0), collect(batch_size=16)
    sizes = [len(labels) for _, labels in collector.train_batches[0]]
    assert len(train) % 16 != 0
    assert sizes == [16] * (len(train) // 16) + [len(train) % 16]


def test_every_epoch_has_its_own_order() -> None:
    first, second = collect(epochs=2).train_batches
    assert joined(first) != joined(second)


def test_the_order_is_a_function_of_the_seed_and_the_epoch() -> None:
    first = collect(epochs=2, shift=1)
    torch.manual_seed(77)
    np.random.seed(77)
    second, third = collect(epochs=3, shift=1), collect(epochs=1, seed=1, shift=1)
    for before, after in zip(first.train_batches, second.train_batches[:2], strict=True):
        assert joined(before) == joined(after)
    assert joined(first.train_batches[0]) != joined(third.train_batches[0])


def test_the_order_does_not_depend_on_the_batches_per_call(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = collect(epochs=2, batch_size=8)
    monkeypatch.setattr(datamodule, "BATCHES_PER_CALL", 3)
    other = collect(epochs=2, batch_size=8)
    assert [joined(batches) for batches in usual.train_batches] == [joined(batches) for batches in other.train_batches]
    assert len(other.first_steps) > len(usual.first_steps)


def test_steps_are_counted_over_all_epochs() -> None:
    collector = collect(epochs=3, batch_size=100)
    assert collector.first_steps == [0, 1, 2, 3, 4, 5]


def test_validation_images_come_whole_and_in_their_own_order_and_unmoved() -> None:
    collector, (_, val) = collect(shift=2), split_indices(SPLIT.labels, 0.2, 0)
    assert joined(collector.val_batches) == pairs(val)


def test_training_images_are_moved_where_that_is_asked_for() -> None:
    collector, (train, _) = collect(shift=2), split_indices(SPLIT.labels, 0.2, 0)
    unmoved = set(pairs(train)) & set(joined(collector.train_batches[0]))
    assert len(unmoved) < len(train) / 5


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
    assert {labels.device.type for _, labels in collector.train_batches[0] + collector.val_batches} == {"cuda"}
    assert {images.device.type for images, _ in collector.train_batches[0] + collector.val_batches} == {"cuda"}
