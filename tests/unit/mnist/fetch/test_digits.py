from dataclasses import astuple

import numpy as np
from sklearn.datasets import load_digits

from src.mnist.fetch.digits import digits_as_mnist


def test_every_digit_is_in_exactly_one_part_in_mnist_format() -> None:
    parts, own = digits_as_mnist(), load_digits()
    assert {name: len(part.labels) for name, part in parts.items()} == {"train": 1437, "test": 360}
    images, labels = (np.concatenate(arrays) for arrays in zip(*map(astuple, parts.values()), strict=True))
    assert images.shape == (1797, 28, 28)
    assert images.dtype == labels.dtype == np.uint8
    assert images.max() > 200
    np.testing.assert_array_equal(np.bincount(labels), np.bincount(own.target))
    assert len(np.unique(images, axis=0)) == len(images)
    expected = np.bincount(own.target) * 360 / 1797
    assert np.abs(np.bincount(parts["test"].labels) - expected).max() < 1, "stratified"


def test_images_are_enlarged_digits_with_an_empty_margin() -> None:
    (images, labels), small = astuple(digits_as_mnist()["test"]), load_digits()
    assert np.array_equal(np.pad(images[:, 4:-4, 4:-4], ((0, 0), (4, 4), (4, 4))), images)
    # The middle of each of the 8 x 8 cells of the 20 x 20 box is closest to the original pixel.
    middles = np.floor((np.arange(8) + 0.5) * 2.5).astype(int) + 4
    cells = images[:, middles][:, :, middles].reshape(len(images), 64) / 255 * 16
    nearest = [np.abs(small.data - cell).sum(1).argmin() for cell in cells]
    np.testing.assert_array_equal(small.target[nearest], labels)
