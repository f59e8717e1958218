"""Trainings and evaluations that write to folders of a test."""

from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path
from typing import Any

import pytest
from pytorch_lightning import Callback, Trainer
from torch import Tensor, nn

from src.mnist.model.network import ARCHITECTURES
from src.mnist.model.params import Params
from src.mnist.train.checkpoint import Checkpoints
from src.mnist.train.trainer import build_trainer
from stages.train import Outputs, Result, train

TINY = "tiny"


class Tiny(nn.Module):
    """Like SmallCNN, for trainings that need not learn: its steps take no time beside Lightning's."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, kernel_size=5, stride=4)
        self.conv2, self.norm2 = nn.Conv2d(4, 8, kernel_size=3, stride=2, bias=False), nn.BatchNorm2d(8)
        self.linear2 = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear2(self.norm2(self.conv2(self.conv1(x).relu())).relu().permute(0, 2, 3, 1).flatten(1))


ARCHITECTURES[TINY] = Tiny


def outputs_in(folder: Path, kind: Any = Outputs) -> Any:
    """The outputs of a stage, by default train, relocated to a folder."""
    return replace(kind(), **{field.name: folder / str(field.default) for field in fields(kind)})


def read_all(outputs: Any) -> list[bytes]:
    return [path.read_bytes() for path in astuple(outputs)]


@dataclass
class Trainings:
    """Trainings of one test on the same data; each names the folder of its outputs, and that of its checkpoints."""

    folder: Path
    data_dir: Path
    params: Params

    def set(self, **params: Any) -> None:
        """Change params of all further trainings."""
        self.params = self.params.model_copy(update=params)

    def outputs(self, name: str = "") -> Outputs:
        return outputs_in(self.folder / name)

    def read(self, name: str = "") -> list[bytes]:
        """The bytes of every output."""
        return read_all(self.outputs(name))

    def checkpoints(self, name: str = "checkpoints", is_stored: bool = False) -> Checkpoints:
        return Checkpoints(self.folder / name, {}, is_stored)

    def run(
        self,
        name: str = "",
        checkpoints: Checkpoints | None = None,
        accelerator: str = "cpu",
        before_epoch: Callable[[], None] = lambda: None,
    ) -> Result:
        """Train, without checkpoints unless some are given."""
        return train(self.params, self.data_dir, self.outputs(name), accelerator, checkpoints, before_epoch)

    def resume(self, name: str = "", accelerator: str = "cpu") -> Result:
        """Train from the last checkpoint, if there is one."""
        return self.run(name, self.checkpoints(), accelerator)

    def interrupt(self, name: str = "", accelerator: str = "cpu") -> None:
        """The same, but the training ends before its second epoch."""
        with pytest.raises(IndexError):
            self.run(name, self.checkpoints(), accelerator, [None].pop)


def add_callback(monkeypatch: pytest.MonkeyPatch, make: Callable[[], Callback]) -> None:
    """Make every training of this test use one more callback."""

    def build(epochs: int, accelerator: str, callbacks: Sequence[Callback]) -> Trainer:
        return build_trainer(epochs, accelerator, [make(), *callbacks])

    monkeypatch.setattr("stages.train.build_trainer", build)


class Freezing(Callback):
    """Freezes a layer when a training starts, and swaps it with another one once, with its statistics."""

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        pl_module.model.conv1.requires_grad_(False)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        if trainer.current_epoch == 1:
            pl_module.model.conv1.requires_grad_(True)
            pl_module.model.conv2.requires_grad_(False)
            pl_module.model.norm2.eval()


class Annealing(Callback):
    """Changes a number that a layer computes with after each epoch, such as the share of dropout."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        pl_module.model.norm2.momentum /= 2
