"""What a network computes with besides its tensors: numbers of its layers, and which weights are trained."""

from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Settings:
    """Settings of a network, which callbacks may change.

    Attributes:
        trained: Whether each weight is trained.
        layers: Numbers of each layer, such as the share of dropout, and whether it is in training mode.
    """

    trained: list[bool]
    layers: list[dict[str, bool | int | float]]

    @classmethod
    def of(cls, network: nn.Module) -> "Settings":
        """Read the settings of a network."""
        return cls([weight.requires_grad for weight in network.parameters()], [*map(_numbers, network.modules())])

    def restore(self, network: nn.Module) -> None:
        """Give a network of the same architecture these settings."""
        for weight, is_trained in zip(network.parameters(), self.trained, strict=True):
            weight.requires_grad_(is_trained)
        for layer, numbers in zip(network.modules(), self.layers, strict=True):
            vars(layer).update(numbers)


def _numbers(layer: nn.Module) -> dict[str, bool | int | float]:
    return {name: value for name, value in vars(layer).items() if name[0] != "_" and isinstance(value, int | float)}
