"""The data set on disk: four IDX files in torchvision's layout and a manifest with their hashes."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from src.core.errors import UserError
from src.core.files import sha256, write_text
from src.core.reading import read_input
from src.mnist.data.idx import decode_idx

FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
MANIFEST = "SHA256SUMS"
NUM_CLASSES = 10
IMAGE_SHAPE = (28, 28)


@dataclass(frozen=True)
class Examples:
    """Images, uint8 of shape (N, 28, 28), values 0 to 255, and their labels, uint8 of shape (N,), values 0 to 9."""

    images: np.ndarray
    labels: np.ndarray


def raw_folder(data_dir: Path) -> Path:
    """The folder that `torchvision.datasets.MNIST(data_dir.parent)` reads if `data_dir` is named MNIST."""
    return data_dir / "raw"


def write_manifest(data_dir: Path) -> None:
    """Record the hash of each of the four files, in the format that `sha256sum --check` reads."""
    folder = raw_folder(data_dir)
    names = [name for pair in FILES.values() for name in pair]
    write_text(folder / MANIFEST, "".join(f"{sha256(folder / name)}  {name}\n" for name in names))


def load_examples(data_dir: Path, part: Literal["train", "test"]) -> Examples:
    """Read one of the two official parts, checked against the manifest.

    Args:
        data_dir: What the fetch stage wrote.
        part: The official training set or the official test set.

    Raises:
        UserError: If a file is missing or has changed since it was fetched, or if images and labels do not match.
    """
    images_path, labels_path = (raw_folder(data_dir) / name for name in FILES[part])
    images, labels = (_read(raw_folder(data_dir), name) for name in FILES[part])
    if images.ndim != 3 or images.shape[1:] != IMAGE_SHAPE:
        raise UserError(f"{images_path}: expected images of shape (N, 28, 28), got {images.shape}")
    if labels.shape != (len(images),):
        raise UserError(f"{labels_path}: expected {len(images)} labels, one per image, got shape {labels.shape}")
    if len(labels) == 0:
        raise UserError(f"{labels_path}: expected at least one label, got none")
    if labels.max() >= NUM_CLASSES:
        raise UserError(f"{labels_path}: expected labels from 0 to 9, got {labels.max()}")
    return Examples(images, labels)


def _read(folder: Path, name: str) -> np.ndarray:
    """Read the array in a file, whose hash must be the manifest's."""
    repair = "run `dvc repro -f fetch`"
    try:
        manifest = (folder / MANIFEST).read_text(encoding="utf-8")
        content = read_input(folder / name)
    except FileNotFoundError as error:
        raise UserError(f"{error.filename}: is missing; {repair}") from error
    expected = {line.split()[1]: line.split()[0] for line in manifest.splitlines() if len(line.split()) == 2}
    found = hashlib.sha256(content).hexdigest()
    if expected.get(name) != found:
        raise UserError(f"{folder / name}: sha256 is {found}, expected {expected.get(name)}; {repair}")
    return decode_idx(content, str(folder / name))
