from pathlib import Path

import numpy as np
import pytest
from torchvision.datasets import MNIST

from src.mnist.data.dataset import FILES, raw_folder
from src.mnist.data.idx import read_idx


@pytest.mark.parametrize("part", ["train", "test"])
def test_torchvision_reads_the_data_folder(digits_dir: Path, part: str) -> None:
    dataset = MNIST(digits_dir.parent, train=part == "train", download=False)
    images, labels = (read_idx(raw_folder(digits_dir) / name) for name in FILES[part])
    np.testing.assert_array_equal(dataset.data.numpy(), images)
    np.testing.assert_array_equal(dataset.targets.numpy(), labels)
