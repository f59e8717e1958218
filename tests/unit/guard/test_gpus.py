import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pynvml
import pytest

from src.core.errors import UserError
from src.guard import gpus
from src.guard.gpus import take_gpus, visible_gpus
from tests.conftest import REPOSITORY

GB = 1 << 30
# As NVML would describe a machine, in the order of `nvidia-smi`; the third GPU is partitioned.
ALL = [{"GPU-aa1": 70 * GB}, {"GPU-aa2": 80 * GB}, {"MIG-m1": 8 * GB, "MIG-m2": 10 * GB}, {"GPU-bbb": 60 * GB}]


@pytest.fixture
def machine_with(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes this a machine with such GPUs, for this process."""
    return lambda *found: monkeypatch.setattr(gpus, "_all_gpus", lambda: list(found))


@pytest.fixture
def take(tmp_path: Path) -> Callable[..., str | None]:
    """Takes and keeps, as if in a process of its own; returns what is visible then."""

    def run(count: int = 1, **environ: str) -> str | None:
        take_gpus(environ, count, tmp_path)
        return environ.get("CUDA_VISIBLE_DEVICES")

    return run


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (None, ["GPU-aa1", "GPU-aa2", "MIG-m1", "MIG-m2", "GPU-bbb"]),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("3,0", ["GPU-bbb", "GPU-aa1"]),
        (" 1 , 2", ["GPU-aa2", "MIG-m1", "MIG-m2"]),
        ("1,1", ["GPU-aa2"]),
        ("0,9,1", ["GPU-aa1"]),
        ("0,-1,1", ["GPU-aa1"]),
        ("GPU-b,GPU-aa1", ["GPU-bbb", "GPU-aa1"]),
        ("MIG-m2", ["MIG-m2"]),
        ("MIG-m2,GPU-x,0", ["MIG-m2"]),
    ],
)
def test_the_names_of_cuda_are_understood(
    machine_with: Callable[..., None], names: str | None, expected: list[str]
) -> None:
    machine_with(*ALL)
    assert list(visible_gpus({} if names is None else {"CUDA_VISIBLE_DEVICES": names})) == expected


def test_each_takes_the_emptiest_that_is_free_and_the_rest_share(
    machine_with: Callable[..., None], take: Callable[..., str | None]
) -> None:
    machine_with(*ALL)
    order = ["GPU-aa2", "GPU-aa1", "GPU-bbb", "MIG-m2", "MIG-m1"]
    assert [take() for _ in range(7)] == [*order, "GPU-aa2", "GPU-aa2"]


def test_only_what_is_visible_is_taken(machine_with: Callable[..., None], take: Callable[..., str | None]) -> None:
    machine_with(*ALL)
    assert [take(CUDA_VISIBLE_DEVICES="0") for _ in range(2)] == ["GPU-aa1", "GPU-aa1"]
    assert take(CUDA_VISIBLE_DEVICES="") == ""
    assert take() == "GPU-aa2"


def test_several_are_taken_at_once(machine_with: Callable[..., None], take: Callable[..., str | None]) -> None:
    machine_with(ALL[0], ALL[1], ALL[3])
    assert take() == "GPU-aa2"
    assert take(2) == "GPU-aa1,GPU-bbb"
    assert take(2) == "GPU-aa2,GPU-aa1"
    with pytest.raises(
        UserError, match=r"^4 GPUs are needed, 3 are visible; .*: PL_TRAINER_ACCELERATOR=cpu dvc repro$"
    ):
        take(4)


def test_a_machine_without_a_driver_stays_as_it_is(take: Callable[..., str | None]) -> None:
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        assert take() is None
        assert take(4, CUDA_VISIBLE_DEVICES="1") == "1"
    else:
        pytest.skip("this machine has a driver")


HOLDER = """
import os, sys
from pathlib import Path
from src.guard import gpus
gpus._all_gpus = lambda: [{"GPU-aa1": 1, "GPU-aa2": 2}]
leases = gpus.take_gpus(os.environ, folder=Path(sys.argv[1]))
print(os.environ["CUDA_VISIBLE_DEVICES"], flush=True)
input()
"""


def test_a_gpu_is_free_again_when_its_process_has_ended_however_that_ends(
    machine_with: Callable[..., None], take: Callable[..., str | None], tmp_path: Path
) -> None:
    machine_with({"GPU-aa1": 1, "GPU-aa2": 2})
    environ = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    pipe, command = subprocess.PIPE, [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, cwd=REPOSITORY, env=environ, stdin=pipe, stdout=pipe) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"GPU-aa2\n"
        assert take() == "GPU-aa1"
        holder.send_signal(signal.SIGKILL)
    assert take() == "GPU-aa2"


def test_a_lock_of_another_user_that_cannot_be_opened_counts_as_taken(
    machine_with: Callable[..., None], take: Callable[..., str | None], tmp_path: Path
) -> None:
    machine_with(*ALL)
    (tmp_path / "GPU-aa2.lock").symlink_to(tmp_path / "elsewhere")
    assert take() == "GPU-aa1"
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.gpu
def test_nvml_knows_the_gpus_of_this_machine_as_torch_does() -> None:
    import torch

    found = visible_gpus(os.environ)
    assert len(found) == torch.cuda.device_count()
    for number, (uuid, free) in enumerate(found.items()):
        assert uuid.startswith(("GPU-", "MIG-"))
        assert 0 < free <= torch.cuda.get_device_properties(number).total_memory
