import json
import subprocess
import sys

from src.mnist.model.params import Params
from tests.conftest import REPOSITORY


def ask(settings: list[dict]) -> "subprocess.CompletedProcess[str]":
    """The command that whoever wants to run many params asks beforehand."""
    command = [sys.executable, "-m", "stages.check", "s.yaml"]
    return subprocess.run(
        command, cwd=REPOSITORY, input=json.dumps(settings), capture_output=True, text=True, check=False
    )


def test_params_come_back_in_the_order_and_types_of_the_schema(params: Params) -> None:
    values = params.model_dump()
    done = ask([dict(reversed(values.items())) | {"weight_decay": 0}, values | {"seed": 7}])
    assert done.returncode == 0, done.stderr
    expected = [values | {"weight_decay": 0.0}, values | {"seed": 7}]
    assert done.stdout == json.dumps(expected) + "\n"


def test_what_no_run_can_have_is_one_line(params: Params) -> None:
    values = params.model_dump()
    for changes, said in (
        ({"epochs": 0}, "s.yaml: epochs must be a whole number from 1 to 10000, got 0\n"),
        ({"shards": 3}, "s.yaml: a run is not possible: params.yaml: batch_size must be a multiple of shards"),
    ):
        done = ask([values, values | changes])
        assert done.returncode == 1
        assert done.stderr.startswith(said)
        assert done.stderr.count("\n") == 1
        assert not done.stdout
