import numpy as np
from sklearn.datasets import load_digits

from src.mnist.fetch.digits import digits_as_mnist


def test_the_parts_have_mnists_format() -> None:
    for images, labels in digits_as_mnist().values():
        assert images.shape == (len(labels), 28, 28)
        assert images.dtype == labels.dtype == np.uint8
        assert images.max() > 200
        assert set(labels) == set(range(10))


def test_every_digit_is_in_one_part() -> None:
    parts = digits_as_mnist()
    assert {name: len(labels) for name, (_, labels) in parts.items()} == {"train": 1437, "test": 360}
    labels = np.concatenate([labels for _, labels in parts.values()])
    np.testing.assert_array_equal(np.bincount(labels), np.bincount(load_digits().target))
    images = np.concatenate([images for images, _ in parts.values()])
    assert len(np.unique(images, axis=0)) == len(images)


def test_the_test_part_is_stratified() -> None:
    parts = digits_as_mnist()
    expected = np.bincount(load_digits().target) * 360 / 1797
    assert np.abs(np.bincount(parts["test"][1]) - expected).max() < 1


def test_images_are_the_small_ones_enlarged() -> None:
    images, labels = digits_as_mnist()["test"]
    small = {
        image.astype(np.uint8).tobytes(): label for image, label in zip(*load_digits(return_X_y=True), strict=True)
    }
    assert len(small) == 1797
    originals = np.stack([np.frombuffer(content, np.uint8) for content in small]).astype(float)
    of = np.array(list(small.values()))
    # The middle of each of 8 x 8 cells of the 20 x 20 box comes nearest to the small image's own pixel.
    middles = np.floor((np.arange(8) + 0.5) * 2.5).astype(int) + 4
    cells = images[:, middles][:, :, middles].reshape(len(images), 64) / 255 * 16
    nearest = [np.abs(originals - cell).sum(1).argmin() for cell in cells]
    np.testing.assert_array_equal(of[nearest], labels)


def test_the_margin_is_empty() -> None:
    for images, _ in digits_as_mnist().values():
        assert images[:, :4].max() == images[:, -4:].max() == images[:, :, :4].max() == images[:, :, -4:].max() == 0


def test_the_same_digits_come_each_time() -> None:
    first, second = digits_as_mnist(), digits_as_mnist()
    for name in first:
        for a, b in zip(first[name], second[name], strict=True):
            np.testing.assert_array_equal(a, b)
