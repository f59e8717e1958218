"""The split of the official training set into a training and a validation part."""

from typing import TYPE_CHECKING

from src.core.errors import UserError

if TYPE_CHECKING:
    import numpy as np


def split_indices(labels: "np.ndarray", val_fraction: float, seed: int) -> tuple["np.ndarray", "np.ndarray"]:
    """Stratified train/validation split of the official MNIST training set.

    Each class contributes the share `val_fraction` of its images, rounded to the nearest whole number.

    Args:
        labels: Class of each image, shape (N,), values 0 to 9.
        val_fraction: Share of N held out, in (0, 1).
        seed: Seeds this split only; global random state is untouched.

    Returns:
        (train, val): sorted, disjoint int64 indices whose union is range(N).

    Raises:
        UserError: If a class would be missing from either part.
    """
    # Imported here because the import takes a third of the time of stage check, which needs only `held_out`.
    import numpy as np

    generator = np.random.default_rng(seed)
    in_val = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        of_class = np.flatnonzero(labels == label)
        in_val[generator.permutation(of_class)[: held_out(len(of_class), val_fraction, label)]] = True
    return np.flatnonzero(~in_val), np.flatnonzero(in_val)


def held_out(count: int, val_fraction: float, label: int) -> int:
    """Number of the `count` images of a class that go to the validation part.

    Raises:
        UserError: If either part would be empty.
    """
    number = round(count * val_fraction)
    if number in (0, count):
        raise UserError(
            f"params.yaml: val_fraction {val_fraction} puts {number} of the {count} training images of class {label} "
            "into the validation part; both parts need some: choose a value closer to 0.5"
        )
    return number
