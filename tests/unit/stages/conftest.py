from dataclasses import fields, replace
from pathlib import Path

import pytest

from src.mnist.model.params import Params
from stages.train import Outputs, train


def outputs_in(folder: Path) -> Outputs:
    return replace(Outputs(), **{field.name: folder / str(field.default) for field in fields(Outputs)})


@pytest.fixture(scope="session")
def trained(params: Params, digits_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Outputs:
    """What training two epochs on digits wrote."""
    outputs = outputs_in(tmp_path_factory.mktemp("trained"))
    train(params, digits_dir, outputs, accelerator="cpu")
    return outputs
