from dataclasses import astuple, fields, replace
from pathlib import Path
from typing import Any

import pytest

from src.mnist.model.params import Params
from src.mnist.train.checkpoint import Checkpoints
from stages.train import Outputs, train


def outputs_in(folder: Path, kind: Any = Outputs) -> Any:
    """The outputs of a stage, by default train, relocated to a folder."""
    return replace(kind(), **{field.name: folder / str(field.default) for field in fields(kind)})


def read_all(outputs: Any) -> list[bytes]:
    return [path.read_bytes() for path in astuple(outputs)]


def train_one_epoch(
    params: Params, data_dir: Path, outputs: Outputs, accelerator: str, checkpoints: Checkpoints | None
) -> None:
    """Train, interrupted before the second epoch."""
    with pytest.raises(IndexError):
        train(params, data_dir, outputs, accelerator, checkpoints, [None].pop)


@pytest.fixture(scope="session")
def trained(params: Params, digits_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Outputs:
    """Outputs of training for two epochs on digits."""
    outputs = outputs_in(tmp_path_factory.mktemp("trained"))
    train(params, digits_dir, outputs, accelerator="cpu")
    return outputs


@pytest.fixture
def workspace(tmp_path: Path, digits_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, which contains only the digits."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data/MNIST").symlink_to(digits_dir)
    monkeypatch.chdir(tmp_path)
    return tmp_path
