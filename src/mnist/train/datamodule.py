"""The training set as Lightning needs it: split, on the device, cut into batches."""

from typing import Any

import numpy as np
import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor

from src.core.errors import UserError
from src.mnist.data.dataset import Examples
from src.mnist.model.shifts import windows
from src.mnist.model.split import split_indices
from src.mnist.train.augmentation import Augmentation
from src.mnist.train.batches import BatchLoader, DeviceExamples, in_order, shuffled

# How many batches Lightning passes per call, which are one CUDA graph. A call costs about half a millisecond: little
# compared with sixteen steps on a CPU, and hidden behind them on a GPU. Results do not depend on the number.
BATCHES_PER_CALL = 16
VAL_BATCH_SIZE = 1000


class TrainingData(LightningDataModule):
    """The official training set, split into train and validation; both are on the device as uint8."""

    def __init__(
        self, examples: Examples, val_fraction: float, batch_size: int, seed: int, augmentation: Augmentation
    ) -> None:
        """Split the training set.

        Args:
            examples: Images and labels of the official training set.
            val_fraction: Share held out, in (0, 1).
            batch_size: Images in one optimizer step; the last step of an epoch takes what remains.
            seed: Seeds the split and, together with the epoch, order and augmentation.
            augmentation: How training images are moved; validation images never are.

        Raises:
            UserError: If a batch would hold more images than the training part has.
        """
        super().__init__()
        self.examples, self.batch_size, self.seed, self.augmentation = examples, batch_size, seed, augmentation
        self.train_indices, self.val_indices = split_indices(examples.labels, val_fraction, seed)
        if batch_size > len(self.train_indices):
            raise UserError(
                f"params.yaml: batch_size must be at most {len(self.train_indices)}, the number of training images, "
                f"got {batch_size}"
            )
        self.steps_per_epoch = -(-len(self.train_indices) // batch_size)

    def validation_set(self) -> tuple[Tensor, Tensor]:
        """The validation part on the CPU: images, uint8 of shape (N, 28, 28), and labels, int64 of shape (N,)."""
        images, labels = self.examples.images[self.val_indices], self.examples.labels[self.val_indices]
        return torch.from_numpy(images), torch.from_numpy(labels).long()

    def setup(self, stage: str) -> None:
        """Move everything to the trainer's device, once."""
        assert self.trainer is not None
        self.device = self.trainer.strategy.root_device

        def on_device(indices: np.ndarray, shift: int) -> DeviceExamples:
            images, labels = (
                torch.from_numpy(array[indices]) for array in (self.examples.images, self.examples.labels)
            )
            return DeviceExamples(windows(self._to_device(images), shift), self._to_device(labels.long()))

        self.train = on_device(self.train_indices, self.augmentation.shift)
        self.val = on_device(self.val_indices, shift=0)

    def train_dataloader(self) -> BatchLoader:
        """The current epoch's batches; the trainer asks again for each epoch."""
        assert self.trainer is not None
        epoch = self.trainer.current_epoch
        selection = shuffled(len(self.train_indices), self.seed, epoch, self.augmentation).map(self._to_device)
        first_step = epoch * self.steps_per_epoch
        return BatchLoader(self.train, selection, self.batch_size, BATCHES_PER_CALL, first_step)

    def val_dataloader(self) -> BatchLoader:
        """The validation part in its own order."""
        size = len(self.val_indices)
        return BatchLoader(self.val, in_order(size).map(self._to_device), VAL_BATCH_SIZE, max_batches=size)

    def _to_device(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.device)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Batches are on the device already."""
        return batch
