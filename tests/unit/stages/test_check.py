import json
import subprocess
import sys

import pytest

from src.core.errors import UserError
from src.mnist.model.params import Params
from stages.check import check_settings
from tests.conftest import REPOSITORY


def test_params_are_returned_in_schema_order_and_types(params: Params) -> None:
    values = params.model_dump()
    asked = json.dumps([dict(reversed(values.items())) | {"weight_decay": 0}, values | {"seed": 7}])
    # A sweep runs this command to check its params in advance.
    printed = subprocess.check_output(
        [sys.executable, "-m", "stages.check", "s.yaml"], cwd=REPOSITORY, input=asked, text=True
    )
    assert printed == json.dumps([values | {"weight_decay": 0.0}, values | {"seed": 7}]) + "\n"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"epochs": 0}, "s.yaml: epochs must be greater than or equal to 1, got 0"),
        ({"shards": 3}, "s.yaml: a run is not possible: params.yaml: batch_size must be a multiple of shards"),
    ],
)
def test_impossible_params_are_rejected_in_one_line(params: Params, changes: dict, said: str) -> None:
    values = params.model_dump()
    with pytest.raises(UserError, match=f"^{said}.*$"):
        check_settings([values, values | changes], "s.yaml")
