from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from torchvision.datasets import MNIST

from src.core.errors import UserError
from src.core.files import write_bytes
from src.mnist.data.dataset import FILES, Examples, load_examples, raw_folder
from tests.conftest import random_examples, write_dataset

PARTS: tuple[Literal["train", "test"], ...] = ("train", "test")
WRITTEN = {"train": random_examples(50, seed=1), "test": random_examples(20, seed=2)}


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    write_dataset(tmp_path / "MNIST", WRITTEN["train"], WRITTEN["test"])
    return tmp_path / "MNIST"


@pytest.mark.parametrize("part", PARTS)
def test_a_part_is_read_as_it_was_written_as_by_torchvision(data_dir: Path, part: Literal["train", "test"]) -> None:
    theirs = MNIST(data_dir.parent, train=part == "train")
    # The other part need not be there.
    for name in FILES["test" if part == "train" else "train"]:
        (raw_folder(data_dir) / name).unlink()
    ours = load_examples(data_dir, part)
    for images, labels in ((ours.images, ours.labels), (theirs.data.numpy(), theirs.targets.numpy())):
        np.testing.assert_array_equal(images, WRITTEN[part].images)
        np.testing.assert_array_equal(labels, WRITTEN[part].labels)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("number", [0, 1])
def test_a_missing_file_is_named_with_the_command_that_fetches_it(
    data_dir: Path, part: Literal["train", "test"], number: int
) -> None:
    name = FILES[part][number]
    (raw_folder(data_dir) / name).unlink()
    with pytest.raises(UserError, match=f"{name}: is missing; run `dvc repro fetch`"):
        load_examples(data_dir, part)


@pytest.mark.fault(29)
def test_unequal_numbers_are_refused(tmp_path: Path) -> None:
    write_dataset(tmp_path, Examples(random_examples(30).images, random_examples(29).labels), random_examples(20))
    with pytest.raises(
        UserError, match=r"train-labels-idx1-ubyte: expected 30 labels, one per image, got shape \(29,\)"
    ):
        load_examples(tmp_path, "train")


@pytest.mark.fault(29)
def test_a_label_over_9_is_refused(tmp_path: Path) -> None:
    write_dataset(tmp_path, Examples(random_examples(3).images, np.array([9, 10, 0], np.uint8)), random_examples(20))
    with pytest.raises(UserError, match="train-labels-idx1-ubyte: expected labels from 0 to 9, got 10"):
        load_examples(tmp_path, "train")


@pytest.mark.parametrize("shape", [(20, 28), (20, 27, 28), (20, 28, 28, 1)])
def test_images_of_another_shape_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    write_dataset(tmp_path, random_examples(20), Examples(np.zeros(shape, np.uint8), random_examples(20).labels))
    with pytest.raises(UserError, match=r"t10k-images-idx3-ubyte: expected images of shape \(N, 28, 28\), got"):
        load_examples(tmp_path, "test")


def test_an_empty_part_is_refused(tmp_path: Path) -> None:
    write_dataset(tmp_path, random_examples(0), random_examples(20))
    with pytest.raises(UserError, match="train-labels-idx1-ubyte: expected at least one label, got none"):
        load_examples(tmp_path, "train")


@pytest.mark.fault(29)
def test_a_wrong_magic_number_is_refused(data_dir: Path) -> None:
    write_bytes(raw_folder(data_dir) / FILES["train"][0], b"\x00\x00\x0d\x03" + bytes(100))
    with pytest.raises(UserError, match="train-images-idx3-ubyte: an IDX file of unsigned bytes starts with 00 00 08"):
        load_examples(data_dir, "train")
