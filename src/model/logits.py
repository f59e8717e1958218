"""Logits of many images, batch by batch."""

import torch
from torch import Tensor, nn

from src.model.network import normalize

BATCH_SIZE = 1000


def predict_logits(model: nn.Module, images: Tensor) -> Tensor:
    """Logits of a model, which is put into evaluation mode and left there.

    Args:
        model: Normalised images (N, 1, 28, 28) to logits (N, 10).
        images: Grey values, uint8 of shape (N, 28, 28), on the model's device.

    Returns:
        float64 of shape (N, 10).
    """
    model.eval()
    with torch.inference_mode():
        return torch.cat([model(normalize(batch)).double() for batch in images.split(BATCH_SIZE)])
