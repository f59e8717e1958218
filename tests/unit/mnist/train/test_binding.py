import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from src.mnist.train.binding import bound_threads
from tests.unit.trainings import Trainings


def compute() -> None:
    """An operator that is large enough for several threads."""
    torch.zeros(1 << 20).add_(1)


def bound() -> list[set[int]]:
    """The cores of those threads of this process that may use only one."""
    cores = (os.sched_getaffinity(int(thread.name)) for thread in Path("/proc/self/task").iterdir())
    return sorted((one for one in cores if len(one) == 1), key=min)


@pytest.fixture
def each() -> Iterator[list[set[int]]]:
    """Compute with two threads on two cores."""
    cores, threads = os.sched_getaffinity(0), torch.get_num_threads()
    if len(cores) < 2:
        pytest.skip("needs two cores")
    two = sorted(cores)[:2]
    os.sched_setaffinity(0, two)
    torch.set_num_threads(2)
    yield [{core} for core in two]
    torch.set_num_threads(threads)
    os.sched_setaffinity(0, cores)


def test_threads_have_cores_of_their_own_within_the_context(each: list[set[int]]) -> None:
    with bound_threads(2):
        compute()
        assert bound() == each
    assert bound() == []
    with suppress(KeyError), bound_threads(2):
        raise KeyError
    assert bound() == []
    with bound_threads(1):
        compute()
        assert bound() == []


def test_training_binds_its_threads(each: list[set[int]], few: Trainings) -> None:
    found: list[set[int]] = []
    few.set(threads=2, epochs=1)
    few.run(before_epoch=lambda: found.extend(bound()))
    assert found == each
    assert bound() == []
