"""Augmentation of whole batches on the device, drawn from a generator that the caller seeds."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Augmentation:
    """How far an image may be moved, each way, uniformly.

    Attributes:
        shift: Pixels in each direction, a whole number.
        rotation: Degrees.
        scale: Share by which an image grows or shrinks, below 1.
    """

    shift: int = 0
    rotation: float = 0.0
    scale: float = 0.0

    @property
    def warps(self) -> bool:
        """Whether images are resampled, not just shifted by whole pixels."""
        return self.rotation > 0 or self.scale > 0

    def draw(self, generator: np.random.Generator, size: int) -> tuple[Tensor, Tensor | None]:
        """Draw one movement per image.

        Args:
            generator: Advanced by the draw.
            size: Number of images.

        Returns:
            offsets: Corner of each image's window in `windows`, int64 of shape (size, 2), values 0 to 2 * shift.
            matrices: Rotation and scale about the centre, float32 of shape (size, 2, 3) as `F.affine_grid` takes them;
                None if nothing is resampled.
        """
        offsets = torch.from_numpy(generator.integers(0, 2 * self.shift + 1, (size, 2)))
        if not self.warps:
            return offsets, None
        angle = np.deg2rad(generator.uniform(-self.rotation, self.rotation, size))
        zoom = 1 + generator.uniform(-self.scale, self.scale, size)
        matrices = np.zeros((size, 2, 3), np.float32)
        matrices[:, 0, 0] = matrices[:, 1, 1] = np.cos(angle) / zoom
        matrices[:, 1, 0] = np.sin(angle) / zoom
        matrices[:, 0, 1] = -matrices[:, 1, 0]
        return offsets, torch.from_numpy(matrices)


def warp(images: Tensor, matrices: Tensor) -> Tensor:
    """Resample images bilinearly, with background beyond their edges.

    Args:
        images: Grey values, any dtype, shape (N, 28, 28).
        matrices: float32 of shape (N, 2, 3), from `Augmentation.draw`.

    Returns:
        float32 of shape (N, 28, 28).
    """
    pictures = images.unsqueeze(1).float()
    grid = F.affine_grid(matrices, list(pictures.shape), align_corners=False)
    return F.grid_sample(pictures, grid, align_corners=False).squeeze(1)
