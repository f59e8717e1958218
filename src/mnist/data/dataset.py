"""The data set on disk: four IDX files in torchvision's layout."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from src.core.errors import UserError
from src.mnist.data.idx import read_idx, write_idx

DATA_DIR = Path("data/MNIST")
FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
NUM_CLASSES = 10
IMAGE_SHAPE = (28, 28)


@dataclass(frozen=True)
class Examples:
    """One part of a data set; N is at least 1.

    Attributes:
        images: uint8 of shape (N, 28, 28), light ink on a background of 0; MNIST's digits fit 20 x 20 pixels.
        labels: uint8 of shape (N,), values 0 to 9.
    """

    images: np.ndarray
    labels: np.ndarray


def raw_folder(data_dir: Path) -> Path:
    """The folder that `torchvision.datasets.MNIST(data_dir.parent)` reads if `data_dir` is named MNIST."""
    return data_dir / "raw"


def load_examples(data_dir: Path, part: Literal["train", "test"]) -> Examples:
    """Read the official training set or the official test set, as written by the fetch stage.

    Raises:
        UserError: If a file is missing or damaged, or if images and labels do not match.
    """
    images_path, labels_path = (raw_folder(data_dir) / name for name in FILES[part])
    try:
        images, labels = read_idx(images_path), read_idx(labels_path)
    except FileNotFoundError as error:
        raise UserError(f"{error.filename}: is missing; run `dvc repro fetch`") from error
    found = Examples(images, labels)
    _check(found, images_path, labels_path)
    return found


def write_examples(data_dir: Path, train: Examples, test: Examples) -> None:
    """Write a data set so that `load_examples` and `torchvision.datasets.MNIST(data_dir.parent)` open it.

    Args:
        data_dir: A folder named MNIST; created if missing.
        train: Examples for training and validation; the train stage splits them.
        test: Examples for the evaluate stage only. They must not overlap with `train`, and must be the same on every
            run.

    Raises:
        UserError: If a part violates the constraints of `Examples`; nothing is written in that case.
    """
    paths = [[raw_folder(data_dir) / name for name in pair] for pair in FILES.values()]
    for part, (images_path, labels_path) in zip((train, test), paths, strict=True):
        _check(part, images_path, labels_path)
    for part, (images_path, labels_path) in zip((train, test), paths, strict=True):
        write_idx(images_path, part.images)
        write_idx(labels_path, part.labels)


def _check(examples: Examples, images_path: Path, labels_path: Path) -> None:
    images, labels = examples.images, examples.labels
    for path, array in ((images_path, images), (labels_path, labels)):
        if array.dtype != np.uint8:
            raise UserError(f"{path}: expected numbers of type uint8, got {array.dtype}")
    if images.shape[1:] != IMAGE_SHAPE:
        shape = ", ".join(map(str, IMAGE_SHAPE))
        raise UserError(f"{images_path}: expected images of shape (N, {shape}), got {images.shape}")
    if labels.shape != (len(images),):
        raise UserError(f"{labels_path}: expected {len(images)} labels, one per image, got shape {labels.shape}")
    if len(labels) == 0:
        raise UserError(f"{labels_path}: expected at least one label, got none")
    if labels.max() >= NUM_CLASSES:
        raise UserError(f"{labels_path}: expected labels from 0 to {NUM_CLASSES - 1}, got {labels.max()}")
