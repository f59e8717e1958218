"""Networks that draw random numbers, as a user might add; importing this module registers them."""

import random

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from src.mnist.model.network import ARCHITECTURES

DROPOUT, DRAWS = "dropout", "draws"


class Dropout(nn.Module):
    """Drops a quarter of the images and half of the features, and a few pixels even in evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Dropout2d(0.25), nn.Flatten(), nn.Linear(784, 32), nn.ReLU(), nn.Dropout(0.5), nn.Linear(32, 10)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(functional.dropout(x, 0.05))


class Draws(nn.Module):
    """Draws from the generators of Python, NumPy and PyTorch when constructed, in training and in evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(784, 10)
        with torch.no_grad():
            self.linear.weight.add_(torch.from_numpy(np.random.normal(0, 0.1, (10, 784))))
            self.linear.bias.fill_(random.random())

    def forward(self, x: Tensor) -> Tensor:
        noise = np.random.normal(0, 0.1) + random.gauss(0, 0.1) + torch.randn(len(x), 1, device=x.device)
        return self.linear(x.flatten(1)) + noise * torch.arange(10, device=x.device)


ARCHITECTURES |= {DROPOUT: Dropout, DRAWS: Draws}
