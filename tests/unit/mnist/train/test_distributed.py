"""Several processes that train together, against one: the same bytes. How a stage gets them is in tests/faults."""

import multiprocessing
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from src.core.errors import UserError
from src.mnist.model.device import torch_device
from src.mnist.model.params import Params
from src.mnist.train.distributed import check_same, connect, rank_and_count
from tests.unit.mnist.train.dropout import DRAWS, DROPOUT
from tests.unit.trainings import Trainings

pytestmark = pytest.mark.fault(71)

# Seconds after which processes are considered hung.
DEADLINE = 120.0
LOOPBACK = "127.0.0.1"


def run_as(rank: int, count: int, port: int, accelerator: str, work: Callable[..., None], arguments: tuple) -> None:
    numbers = {"RANK": rank, "WORLD_SIZE": count, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": count, "MASTER_PORT": port}
    os.environ |= {name: str(number) for name, number in numbers.items()}
    os.environ |= {"MASTER_ADDR": LOOPBACK, "TORCHELASTIC_RUN_ID": "test"}
    connect(torch_device(accelerator))
    work(*arguments)


def run_together(count: int, work: Callable[..., None], *arguments: Any, accelerator: str = "cpu") -> None:
    """Call `work(*arguments)` in several processes at once, started as by torchrun."""
    # Children of a server that has imported all this and computed nothing: they start at once. Where another test has
    # exported a network, autograd refuses to run in forks of this process.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    with socket.create_server((LOOPBACK, 0)) as server:
        port = server.getsockname()[1]
    started = [
        context.Process(target=run_as, args=(rank, count, port, accelerator, work, arguments)) for rank in range(count)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join(DEADLINE)
        process.kill()
    assert [process.exitcode for process in started] == [0] * count


def work_with(trainings: Trainings, method: str, accelerator: str = "cpu") -> None:
    # Only process 0 may write. The others get separate folders, which must stay empty.
    rank, _ = rank_and_count()
    getattr(trainings, method)(f"of-{rank}" if rank else "together", accelerator=accelerator)


# There are 275 training images, so the last batch of an epoch has 19, which 4 does not divide.
EVERYTHING = {"ema": 0.9, "weight_decay": 0.1, "rotation": 10.0, "scale": 0.1, "precision": "bf16"}
CASES: dict[str, dict[str, Any]] = {
    "dropout": {"shards": 4, "architecture": DROPOUT},
    "ensemble, everything": {"shards": 4, "architecture": "ensemble", "epochs": 1, **EVERYTHING},
    # 3 and 6 are not powers of two, and the last batch has five images for six shards.
    "cnn, six shards": {"architecture": "cnn", "shards": 6, "batch_size": 30, "epochs": 1},
}
SLOW = [("dropout", 4), ("ensemble, everything", 4), ("cnn, six shards", 3), ("cnn, six shards", 6)]


def assert_as_alone(trainings: Trainings, count: int, accelerator: str = "cpu") -> None:
    trainings.run("alone", accelerator=accelerator)
    run_together(count, work_with, trainings, "run", accelerator, accelerator=accelerator)
    assert trainings.read("together") == trainings.read("alone")
    assert not list(trainings.folder.glob("of-*"))


@pytest.mark.slow
@pytest.mark.parametrize(("case", "count"), SLOW)
def test_result_does_not_depend_on_the_number_of_processes(few: Trainings, case: str, count: int) -> None:
    few.set(**CASES[case])
    assert_as_alone(few, count)


def refuse() -> None:
    rank, _ = rank_and_count()
    inputs = {"params.yaml: lr": "0.1", "src/mnist/model/network.py": str(rank)}
    with pytest.raises(UserError, match=r"network.py: process 1 of 2 has a different value than process 0"):
        check_same(inputs)
    check_same({"params.yaml: lr": "0.1"})


# A single test, because the server takes seconds to start in each worker of pytest.
@pytest.mark.fault(72)
def test_two_processes_match_one_resume_exactly_and_reject_differing_inputs(
    few: Trainings, params: Params, few_digits: Path, tmp_path: Path
) -> None:
    run_together(2, refuse)
    few.set(**CASES["ensemble, everything"])
    assert_as_alone(few, 2)
    # Two processes resume from one, and one from two.
    sharded = params.model_copy(update={"shards": 2, "epochs": 2, "architecture": DRAWS})
    two, one = (Trainings(tmp_path / name, few_digits, sharded) for name in ("two", "one"))
    one.run("whole")
    run_together(2, work_with, two, "interrupt")
    two.resume("together")
    one.interrupt("together")
    run_together(2, work_with, one, "resume")
    assert one.read("whole") == one.read("together") == two.read("together")


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_two_gpus_give_the_same_bytes_as_one(params: Params, digits_dir: Path, tmp_path: Path) -> None:
    sharded = params.model_copy(update={"shards": 2, "architecture": "resnet"})
    assert_as_alone(Trainings(tmp_path, digits_dir, sharded), 2, "gpu")
