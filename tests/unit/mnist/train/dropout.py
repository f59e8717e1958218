"""A network that draws random numbers, as a user may add it; importing this registers it."""

from torch import Tensor, nn
from torch.nn import functional

from src.mnist.model.network import ARCHITECTURES

DROPOUT = "dropout"


class Dropout(nn.Module):
    """Drops a quarter of the pictures and half of the features, and a few pixels even in evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Dropout2d(0.25), nn.Flatten(), nn.Linear(784, 32), nn.ReLU(), nn.Dropout(0.5), nn.Linear(32, 10)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(functional.dropout(x, 0.05))


ARCHITECTURES[DROPOUT] = Dropout
