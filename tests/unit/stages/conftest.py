from pathlib import Path

import pytest

from src.mnist.model.params import Params
from stages.train import Outputs
from tests.unit.trainings import Trainings


@pytest.fixture(scope="session")
def trained(params: Params, digits_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Outputs:
    """Outputs of training for two epochs on digits."""
    trainings = Trainings(tmp_path_factory.mktemp("trained"), digits_dir, params)
    trainings.run()
    return trainings.outputs()


@pytest.fixture
def workspace(tmp_path: Path, digits_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, which contains only the digits."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data/MNIST").symlink_to(digits_dir)
    monkeypatch.chdir(tmp_path)
    return tmp_path
