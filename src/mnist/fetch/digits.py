"""scikit-learn's embedded handwritten digits in MNIST's format, for offline runs that take seconds."""

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from src.mnist.data.dataset import Examples

TEST_IMAGES = 360
# MNIST's digits fill a box of 20 x 20 pixels in the middle of 28 x 28.
BOX, MARGIN = 20, 4


def digits_as_mnist() -> dict[str, Examples]:
    """Convert the 1,797 digits, 8 x 8 pixels of 0 to 16, to MNIST's format, with a fixed split.

    Returns:
        `train` (1,437) and `test` (360), stratified by class.
    """
    digits = load_digits()
    images = np.stack([_scale(image) for image in digits.images])
    labels = digits.target.astype(np.uint8)
    train, test = train_test_split(np.arange(len(labels)), test_size=TEST_IMAGES, stratify=labels, random_state=0)
    return {name: Examples(images[part], labels[part]) for name, part in (("train", train), ("test", test))}


def _scale(image: np.ndarray) -> np.ndarray:
    """Scale one image from (8, 8), 0 to 16, to (28, 28), 0 to 255."""
    grey = Image.fromarray((image * 255 / 16).astype(np.uint8))
    return np.pad(np.asarray(grey.resize((BOX, BOX), Image.Resampling.BICUBIC)), MARGIN)
