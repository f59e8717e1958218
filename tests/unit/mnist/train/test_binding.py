import os
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import torch

from src.mnist.train.binding import bound_threads
from stages.train import train
from tests.conftest import PARAMS
from tests.unit.stages.conftest import outputs_in


def compute() -> None:
    """An operator that is large enough for several threads."""
    torch.zeros(1 << 20).add_(1)


def where() -> list[set[int]]:
    """The cores that each thread of this process may use."""
    return [os.sched_getaffinity(int(thread.name)) for thread in Path("/proc/self/task").iterdir()]


def bind(cores: list[int], data_dir: Path, folder: Path, sender: Connection) -> None:
    """Compute and train with two threads on two cores, and send where the threads were."""
    os.sched_setaffinity(0, cores)
    torch.set_num_threads(2)
    compute()
    found: dict[str, list[set[int]]] = {"in training": []}
    with bound_threads(2):
        compute()
        found["bound"] = where()
    found["afterwards"] = where()
    with suppress(KeyError), bound_threads(2):
        raise KeyError
    found["after an error"] = where()
    with bound_threads(1):
        found["fewer threads than cores"] = where()
    params = PARAMS.model_copy(update={"threads": 2, "epochs": 1})
    train(params, data_dir, outputs_in(folder), "cpu", before_epoch=lambda: found["in training"].extend(where()))
    sender.send(found)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_threads_have_cores_of_their_own_within_the_context_and_in_training(few_digits: Path, tmp_path: Path) -> None:
    cores = sorted(os.sched_getaffinity(0))[:2]
    # After a fork, the threads of OpenMP are missing.
    spawn = get_context("spawn")
    receiver, sender = spawn.Pipe(duplex=False)
    process = spawn.Process(target=bind, args=(cores, few_digits, tmp_path, sender))
    process.start()
    sender.close()
    try:
        found = receiver.recv()
    finally:
        process.join()
    in_training = found.pop("in training")
    assert all({core} in in_training for core in cores)
    assert [{core} for core in cores] == sorted((one for one in found.pop("bound") if len(one) == 1), key=min)
    assert {name: one for name, threads in found.items() for one in threads if one != set(cores)} == {}
