import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import torch

from src.mnist.train.binding import bound_threads
from stages.train import Outputs, train
from tests.conftest import PARAMS

# After a fork, the threads of OpenMP are missing.
SPAWN = get_context("spawn")
pytestmark = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")


def compute() -> None:
    """An operator that is large enough for several threads."""
    torch.zeros(1 << 20).add_(1)


def where() -> list[set[int]]:
    """The cores that each thread of this process may use."""
    return [os.sched_getaffinity(int(thread.name)) for thread in Path("/proc/self/task").iterdir()]


def run(function: Callable[[], object], cores: list[int], sender: Connection) -> None:
    os.sched_setaffinity(0, cores)
    torch.set_num_threads(2)
    compute()
    sender.send(function())


def in_a_process(function: Callable[[], object]) -> tuple[list[int], Any]:
    """Call a function in a process that computes with two threads on two cores; returns the cores and its result."""
    cores = sorted(os.sched_getaffinity(0))[:2]
    receiver, sender = SPAWN.Pipe(duplex=False)
    process = SPAWN.Process(target=run, args=(function, cores, sender))
    process.start()
    sender.close()
    try:
        return cores, receiver.recv()
    finally:
        process.join()


def bind() -> dict[str, list[set[int]]]:
    found = {}
    with bound_threads(2):
        compute()
        found["bound"] = where()
    found["afterwards"] = where()
    with suppress(KeyError), bound_threads(2):
        raise KeyError
    found["after an error"] = where()
    with bound_threads(1):
        found["fewer threads than cores"] = where()
    return found


def train_one_epoch(data_dir: Path, folder: Path) -> list[set[int]]:
    """Where the threads are at the start of the epoch."""
    found: list[set[int]] = []
    params = PARAMS.model_copy(update={"threads": 2, "epochs": 1})
    outputs = Outputs(*(folder / name for name in vars(Outputs())))
    train(params, data_dir, outputs, "cpu", before_epoch=lambda: found.extend(where()))
    return found


def test_threads_have_cores_of_their_own_within_the_context() -> None:
    cores, found = in_a_process(bind)
    bound = found.pop("bound")
    assert [{core} for core in cores] == sorted((one for one in bound if len(one) == 1), key=min)
    assert {name: one for name, threads in found.items() for one in threads if one != set(cores)} == {}


def test_training_binds_its_threads(digits_dir: Path, tmp_path: Path) -> None:
    cores, found = in_a_process(partial(train_one_epoch, digits_dir, tmp_path))
    assert all({core} in found for core in cores)
