from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from torchvision.datasets import MNIST

from src.core.errors import UserError
from src.mnist.data.dataset import FILES, Examples, load_examples, raw_folder, write_examples
from src.mnist.data.idx import write_idx
from tests.conftest import random_examples

PARTS: tuple[Literal["train", "test"], ...] = ("train", "test")
WRITTEN = {"train": random_examples(50, seed=1), "test": random_examples(20, seed=2)}


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    write_examples(tmp_path / "MNIST", **WRITTEN)
    return tmp_path / "MNIST"


@pytest.mark.parametrize("part", PARTS)
def test_part_round_trips_here_and_in_torchvision(data_dir: Path, part: Literal["train", "test"]) -> None:
    theirs = MNIST(data_dir.parent, train=part == "train")
    # The other part may be missing.
    for name in FILES["test" if part == "train" else "train"]:
        (raw_folder(data_dir) / name).unlink()
    ours = load_examples(data_dir, part)
    for images, labels in ((ours.images, ours.labels), (theirs.data.numpy(), theirs.targets.numpy())):
        np.testing.assert_array_equal(images, WRITTEN[part].images)
        np.testing.assert_array_equal(labels, WRITTEN[part].labels)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("number", [0, 1])
def test_missing_file_error_names_the_fetch_command(
    data_dir: Path, part: Literal["train", "test"], number: int
) -> None:
    name = FILES[part][number]
    (raw_folder(data_dir) / name).unlink()
    with pytest.raises(UserError, match=f"{name}: is missing; run `dvc repro fetch`"):
        load_examples(data_dir, part)


TEN = random_examples(10)
WRONG = [
    ("labels", Examples(TEN.images, random_examples(9).labels), r"expected 10 labels, one per image, got shape \(9,\)"),
    ("labels", Examples(TEN.images, TEN.labels + np.uint8(1)), "expected labels from 0 to 9, got 10"),
    ("labels", random_examples(0), "expected at least one label, got none"),
    *(
        ("images", Examples(np.zeros(shape, np.uint8), TEN.labels), r"expected images of shape \(N, 28, 28\), got")
        for shape in [(10, 28), (10, 27, 28), (10, 28, 28, 1)]
    ),
]
OF_OTHER_TYPES = [
    ("images", Examples(TEN.images / 255, TEN.labels), "expected numbers of type uint8, got float64"),
    ("labels", Examples(TEN.images, TEN.labels.astype(np.int64)), "expected numbers of type uint8, got int64"),
]


@pytest.mark.fault(29)
@pytest.mark.parametrize(("kind", "wrong", "said"), WRONG)
def test_invalid_examples_are_not_read(tmp_path: Path, kind: str, wrong: Examples, said: str) -> None:
    for name, array in zip(FILES["test"], (wrong.images, wrong.labels), strict=True):
        write_idx(raw_folder(tmp_path) / name, array)
    with pytest.raises(UserError, match=rf"t10k-{kind}-idx\d-ubyte: {said}"):
        load_examples(tmp_path, "test")


@pytest.mark.parametrize(("kind", "wrong", "said"), WRONG + OF_OTHER_TYPES)
def test_nothing_is_written_if_one_part_is_invalid(tmp_path: Path, kind: str, wrong: Examples, said: str) -> None:
    with pytest.raises(UserError, match=rf"t10k-{kind}-idx\d-ubyte: {said}"):
        write_examples(tmp_path / "MNIST", TEN, wrong)
    assert not (tmp_path / "MNIST").exists()
