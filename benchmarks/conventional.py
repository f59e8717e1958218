"""The conventional program for this task, as in tutorials: per-sample transforms, DataLoader workers, lists.

Prints the duration of `fit` in seconds, as JSON. Network, optimizer, batch size and split are the pipeline's.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import pytorch_lightning as pl
import torch
from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Subset
from torchvision import transforms
from torchvision.datasets import MNIST

from src.mnist.model.network import MEAN, STD
from src.mnist.model.split import split_indices


class ConventionalModule(pl.LightningModule):
    """Keeps predictions in Python lists and scores them with scikit-learn at the end of an epoch."""

    def __init__(self) -> None:
        super().__init__()
        # The pipeline's `cnn`, with the usual activation before pooling.
        convolutions = (nn.Conv2d(1, 10, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(10, 20, 3), nn.ReLU())
        linear = (nn.Flatten(), nn.Linear(2000, 500), nn.ReLU(), nn.Linear(500, 10))
        self.network = nn.Sequential(*convolutions, *linear)
        self.seen: dict[str, tuple[list[int], list[int]]] = {"train": ([], []), "val": ([], [])}

    def model_step(self, batch: tuple[Tensor, Tensor], part: str) -> Tensor:
        """Return the loss of a batch, and store predictions and labels."""
        x, y = batch
        logits = self.network(x)
        self.seen[part][0].extend(logits.argmax(1).tolist())
        self.seen[part][1].extend(y.tolist())
        loss = F.cross_entropy(logits, y)
        self.log(f"{part}_loss", loss, on_step=False, on_epoch=True, prog_bar=True)
        return loss

    def epoch_scores(self, part: str) -> None:
        """Log the epoch's scores and clear the predictions."""
        preds, labels = self.seen[part]
        self.log(f"{part}_acc", float(accuracy_score(labels, preds)))
        for name, score in ("precision", precision_score), ("recall", recall_score), ("f1", f1_score):
            self.log(f"{part}_{name}", float(score(labels, preds, average="macro", zero_division=0)))
        self.seen[part] = ([], [])

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return self.model_step(batch, "train")

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.model_step(batch, "val")

    def on_train_epoch_end(self) -> None:
        self.epoch_scores("train")

    def on_validation_epoch_end(self) -> None:
        self.epoch_scores("val")

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.001)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--workers", type=int, required=True)
    arguments = parser.parse_args()
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((MEAN,), (STD,))])
    dataset = MNIST(arguments.data_dir.parent, train=True, transform=transform)
    train, val = (
        DataLoader(
            Subset(dataset, indices.tolist()),
            batch_size=128,
            shuffle=is_train,
            num_workers=arguments.workers,
            pin_memory=torch.cuda.is_available(),
        )
        for indices, is_train in zip(
            split_indices(dataset.targets.numpy(), val_fraction=0.1, seed=0), (True, False), strict=True
        )
    )
    with tempfile.TemporaryDirectory() as folder:
        trainer = pl.Trainer(max_epochs=arguments.epochs, devices=1, default_root_dir=folder, num_sanity_val_steps=0)
        started = time.perf_counter()
        trainer.fit(ConventionalModule(), train, val)
        print(json.dumps({"seconds": time.perf_counter() - started}))


if __name__ == "__main__":
    main()
