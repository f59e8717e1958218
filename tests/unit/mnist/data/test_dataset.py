from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from torchvision.datasets import MNIST

from src.core.errors import UserError
from src.core.files import write_bytes
from src.mnist.data.dataset import FILES, Examples, load_examples, raw_folder
from tests.conftest import random_examples, write_dataset

NAMES = [name for pair in FILES.values() for name in pair]
PARTS: tuple[Literal["train", "test"], ...] = ("train", "test")


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    write_dataset(tmp_path / "MNIST", random_examples(50, seed=1), random_examples(20, seed=2))
    return tmp_path / "MNIST"


def part_of(name: str) -> Literal["train", "test"]:
    return "train" if name.startswith("train") else "test"


def test_both_parts_are_read_as_they_were_written(data_dir: Path) -> None:
    for part, written in zip(PARTS, (random_examples(50, seed=1), random_examples(20, seed=2)), strict=True):
        read = load_examples(data_dir, part)
        np.testing.assert_array_equal(read.images, written.images)
        np.testing.assert_array_equal(read.labels, written.labels)


@pytest.mark.parametrize("part", PARTS)
def test_torchvision_opens_the_folder_and_sees_the_same(data_dir: Path, part: Literal["train", "test"]) -> None:
    theirs, ours = MNIST(data_dir.parent, train=part == "train"), load_examples(data_dir, part)
    np.testing.assert_array_equal(theirs.data.numpy(), ours.images)
    np.testing.assert_array_equal(theirs.targets.numpy(), ours.labels)


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_file_is_named_with_the_command_that_fetches_it(data_dir: Path, name: str) -> None:
    (raw_folder(data_dir) / name).unlink()
    with pytest.raises(UserError, match=f"{name}: is missing; run `dvc repro fetch`"):
        load_examples(data_dir, part_of(name))


@pytest.mark.parametrize("name", NAMES)
def test_the_other_part_need_not_be_there(data_dir: Path, name: str) -> None:
    (other,) = set(PARTS) - {part_of(name)}
    for one in FILES[other]:
        (raw_folder(data_dir) / one).unlink()
    assert len(load_examples(data_dir, part_of(name)).labels) in (50, 20)


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
    write_bytes(raw_folder(data_dir) / NAMES[0], b"\x00\x00\x0d\x03" + bytes(100))
    with pytest.raises(UserError, match="train-images-idx3-ubyte: an IDX file of unsigned bytes starts with 00 00 08"):
        load_examples(data_dir, "train")
