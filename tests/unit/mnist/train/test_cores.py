import os
import signal
import threading
import time
from collections.abc import Iterator
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import torch

from src.core.lease import Lease
from src.mnist.train import cores
from src.mnist.train.cores import Cores
from tests.unit.mnist.train.fitting import Stop, fit
from tests.unit.trainings import Trainings

CORES = (0, 1)


def line_of(folder: Path) -> Lease:
    return Lease("cores-3", folder)


def waits_in_line(folder: Path) -> bool:
    line = line_of(folder)
    is_free = line.take()
    line.give()
    return not is_free


def test_waiting_training_gets_the_next_turn(tmp_path: Path) -> None:
    first, second = Cores(2, CORES, tmp_path), Cores(2, CORES, tmp_path)
    order = []

    def other() -> None:
        second.take()
        order.append("second")
        second.give()

    first.take()
    thread = threading.Thread(target=other)
    thread.start()
    while not waits_in_line(tmp_path):
        pass
    assert order == []
    first.give()
    # Immediately, as between two calls of a training.
    first.take()
    order.append("first again")
    thread.join()
    assert order == ["second", "first again"]


def test_turn_lasts_for_several_short_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = Cores(2, CORES, tmp_path), Cores(2, CORES, tmp_path)
    monkeypatch.setattr(cores, "TURN_SECONDS", 3600.0)
    for _ in range(2):
        first.on_train_batch_start()
        first.on_train_batch_end()
        assert not second._take_cores()
    monkeypatch.setattr(cores, "TURN_SECONDS", 0.0)
    first.on_validation_batch_start()
    first.on_validation_batch_end()
    assert second._take_cores()


def test_trainings_run_concurrently_while_cores_are_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "PATIENCE_SECONDS", 0.0)
    one, two, both = Cores(1, CORES, tmp_path), Cores(1, CORES, tmp_path), Cores(2, CORES, tmp_path)
    one.take()
    two.take()
    assert one.line is not None
    assert two.line is not None
    one.give()
    # Half of the cores is not enough, and is not kept.
    both.take()
    assert both.line is None
    # More threads than cores take all cores.
    two.give()
    many = Cores(64, CORES, tmp_path)
    many.take()
    assert many.line is not None
    assert not any(Lease(f"core-{core}", tmp_path).take() for core in CORES)


def hold(folder: Path, connection: Connection) -> None:
    Cores(2, CORES, folder).take()
    connection.send("taken")
    signal.pause()


@pytest.mark.fault(99)
def test_killed_training_releases_its_turn(tmp_path: Path) -> None:
    context = get_context("fork")
    here, there = context.Pipe()
    process = context.Process(target=hold, args=(tmp_path, there))
    process.start()
    here.recv()
    own = Cores(2, CORES, tmp_path)
    assert not own._take_cores()
    process.kill()
    process.join()
    own.take()
    assert own.line is not None


@pytest.mark.fault(99)
def test_suspended_training_delays_others_only_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suspended, own = Cores(2, CORES, tmp_path), Cores(2, CORES, tmp_path)
    suspended.take()
    monkeypatch.setattr(cores, "PATIENCE_SECONDS", 0.0)
    own.take()
    monkeypatch.undo()
    own.give()
    own.take()
    assert not waits_in_line(tmp_path)


def test_finished_training_releases_its_turn(tmp_path: Path) -> None:
    fit(Cores(2, CORES, tmp_path), epochs=1)
    assert Cores(2, CORES, tmp_path)._take_cores()


def test_failed_training_releases_its_turn(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        fit(Cores(2, CORES, tmp_path), Stop(1, KeyboardInterrupt()))
    assert Cores(2, CORES, tmp_path)._take_cores()


def test_missing_folder_disables_turns(tmp_path: Path) -> None:
    for _ in range(2):
        Cores(2, CORES, tmp_path / "missing").take()


def test_file_system_without_locks_disables_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("it waits"))
    own = Cores(2, CORES, tmp_path)
    assert own.line is not None
    # Locking a closed file fails, too.
    for lease in (*own.leases, own.line):
        os.close(lease.file)
    own.take()
    own.give()


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


def test_threads_have_cores_of_their_own_until_training_ends(each: list[set[int]], tmp_path: Path) -> None:
    own = Cores(2, os.sched_getaffinity(0), tmp_path)
    for end in (own.on_fit_end, own.on_exception):
        own.on_fit_start()
        compute()
        assert bound() == each
        end()
        assert bound() == []
    # The system moves fewer threads than cores to idle ones.
    Cores(1, os.sched_getaffinity(0), tmp_path).on_fit_start()
    compute()
    assert bound() == []


def test_training_binds_its_threads(each: list[set[int]], few: Trainings) -> None:
    found: list[set[int]] = []
    few.set(threads=2, epochs=1)
    few.run(before_epoch=lambda: found.extend(bound()))
    assert found == each
    assert bound() == []
