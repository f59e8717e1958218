"""Shifted versions of images, without copying them."""

from torch import Tensor
from torch.nn import functional as F


def shifted_views(images: Tensor, shift: int) -> Tensor:
    """Every shifted version of every image, as a view of the zero-padded images.

    Args:
        images: uint8 of shape (N, 28, 28).
        shift: Largest shift in pixels.

    Returns:
        uint8 of shape (N, 2 * shift + 1, 2 * shift + 1, 28, 28); [:, shift, shift] are the unshifted images.
    """
    height, width = images.shape[1:]
    return F.pad(images, [shift] * 4).unfold(1, height, 1).unfold(2, width, 1)
