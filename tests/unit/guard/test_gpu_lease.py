import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from src.core.errors import UserError
from src.guard import gpu_lease
from src.guard.environment import take_gpus
from src.guard.gpu_lease import lease_gpus
from src.mnist.model.processes import Processes
from tests.conftest import REPOSITORY, said

TWO = ("GPU-a 90 70000 0 0 0", "GPU-b 90 80000 0 0 0")


@pytest.fixture
def lease() -> Iterator[Callable[..., str | None]]:
    """Leases and keeps, as if in a process of its own; returns what is visible then."""
    files: list[int] = []

    def run(count: int = 1, **environ: str) -> str | None:
        files.extend(lease_gpus(environ, count))
        return environ.get("CUDA_VISIBLE_DEVICES")

    yield run
    for file in files:
        os.close(file)


def test_each_takes_the_emptiest_that_is_free_and_the_rest_share(
    machine_with: Callable[..., None], lease: Callable[..., str | None]
) -> None:
    machine_with(*TWO)
    assert [lease() for _ in range(4)] == ["GPU-b", "GPU-a", "GPU-b", "GPU-b"]


def test_only_what_is_visible_is_taken(machine_with: Callable[..., None], lease: Callable[..., str | None]) -> None:
    machine_with(*TWO)
    assert [lease(CUDA_VISIBLE_DEVICES="0") for _ in range(2)] == ["GPU-a", "GPU-a"]
    assert lease(CUDA_VISIBLE_DEVICES="") == ""
    assert lease() == "GPU-b"


def test_several_are_leased_at_once(machine_with: Callable[..., None], lease: Callable[..., str | None]) -> None:
    machine_with(*TWO, "GPU-c 90 60000 0 0 0")
    assert lease() == "GPU-b"
    assert lease(2) == "GPU-a,GPU-c"
    assert lease(2) == "GPU-b,GPU-a"
    with pytest.raises(UserError, match=r"^4 GPUs are needed, 3 of 3 visible can be used"):
        lease(4)


@pytest.mark.usefixtures("no_driver")
def test_without_a_driver_nothing_changes(lease: Callable[..., str | None]) -> None:
    assert lease() is None
    assert lease(CUDA_VISIBLE_DEVICES="1") == "1"


def test_a_torch_without_cuda_needs_no_gpu(
    machine_with: Callable[..., None], lease: Callable[..., str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_lease, "cuda_of_torch", lambda: None)
    machine_with("GPU-a 35 80000 0 0 0")
    assert lease() is None


def test_a_lease_ends_with_its_process_however_that_ends(
    machine_with: Callable[..., None], lease: Callable[..., str | None], stand_in: Path, tmp_path: Path
) -> None:
    machine_with(*TWO)
    program = "import os; from src.guard.gpu_lease import lease_gpus; lease_gpus(os.environ); " \
              "print(os.environ['CUDA_VISIBLE_DEVICES'], flush=True); input()"  # fmt: skip
    environ = {**os.environ, **said(*TWO), "LD_LIBRARY_PATH": str(stand_in), "TMPDIR": str(tmp_path)}
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", program], cwd=REPOSITORY, env=environ, stdin=pipe, stdout=pipe) as one:
        assert one.stdout is not None
        assert one.stdout.readline() == b"GPU-b\n"
        assert lease() == "GPU-a"
        one.send_signal(signal.SIGKILL)
    assert lease() == "GPU-b"


def test_a_file_of_another_user_that_cannot_be_opened_counts_as_leased(
    machine_with: Callable[..., None], lease: Callable[..., str | None], tmp_path: Path
) -> None:
    machine_with(*TWO)
    (tmp_path / "GPU-b.lock").symlink_to(tmp_path / "elsewhere")
    assert lease() == "GPU-a"
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    ("stage", "choice", "visible"),
    [("train", None, "GPU-b"), ("evaluate", "gpu", "GPU-b"), ("train", "cpu", None), ("fetch", None, None)],
)
def test_only_stages_that_compute_on_a_gpu_take_one(
    machine_with: Callable[..., None], stage: str, choice: str | None, visible: str | None
) -> None:
    machine_with(*TWO)
    environ = {"PL_TRAINER_ACCELERATOR": choice} if choice else {}
    take_gpus(stage, Processes(), environ)
    assert environ.get("CUDA_VISIBLE_DEVICES") == visible
