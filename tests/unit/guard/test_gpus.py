from collections.abc import Callable
from pathlib import Path

import pynvml
import pytest

from src.core.errors import UserError
from src.guard import gpus
from src.guard.gpus import take_gpus, visible_gpus


@pytest.fixture
def machine_with(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Emulate a machine with these GPUs for this process, most free memory first."""
    return lambda *found: monkeypatch.setattr(gpus, "_by_free_memory", lambda: list(found))


@pytest.fixture
def take(tmp_path: Path) -> Callable[..., str | None]:
    """Take GPUs and keep them, as if in a separate process; returns the visible ones."""

    def run(count: int = 1, **environ: str) -> str | None:
        take_gpus(environ, count, tmp_path)
        return environ.get("CUDA_VISIBLE_DEVICES")

    return run


def test_stages_take_free_gpus_by_memory_and_then_share(
    machine_with: Callable[..., None], take: Callable[..., str | None]
) -> None:
    machine_with("GPU-b", "MIG-a", "GPU-c")
    assert [take() for _ in range(5)] == ["GPU-b", "MIG-a", "GPU-c", "GPU-b", "GPU-b"]


def test_several_gpus_are_taken_together(machine_with: Callable[..., None], take: Callable[..., str | None]) -> None:
    machine_with("GPU-b", "GPU-a", "GPU-c")
    assert take() == "GPU-b"
    assert take(2) == "GPU-a,GPU-c"
    assert take(2) == "GPU-b,GPU-a"
    with pytest.raises(UserError, match=r"^4 GPUs are needed, 3 are visible .*: PL_TRAINER_ACCELERATOR=cpu dvc repro$"):
        take(4)


def test_only_visible_gpus_are_taken(machine_with: Callable[..., None], take: Callable[..., str | None]) -> None:
    machine_with("GPU-b", "GPU-a", "GPU-c")
    for chosen, taken in (
        ("1", "1"),
        ("1", "1"),
        ("GPU-a, GPU-c", "GPU-a"),
        ("GPU-a,GPU-c", "GPU-c"),
        ("", ""),
        ("-1", "-1"),
    ):
        assert take(CUDA_VISIBLE_DEVICES=chosen) == taken
    assert take() == "GPU-b"
    with pytest.raises(UserError, match=r"^2 GPUs are needed, 1 are visible"):
        take(2, CUDA_VISIBLE_DEVICES="1")


@pytest.mark.parametrize(("chosen", "visible"), [("0,1", ["0", "1"]), ("", []), ("-1", []), ("NoDevFiles", [])])
def test_hidden_gpus_are_not_listed(machine_with: Callable[..., None], chosen: str, visible: list[str]) -> None:
    machine_with("GPU-b", "GPU-a")
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": chosen}) == visible
    assert visible_gpus({}) == ["GPU-b", "GPU-a"]
    machine_with()
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": chosen}) == []


def test_missing_driver_changes_nothing(take: Callable[..., str | None]) -> None:
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        assert take() is None
        assert take(4, CUDA_VISIBLE_DEVICES="1") == "1"
    else:
        pytest.skip("this machine has a driver")


def test_inaccessible_lease_counts_as_taken(
    machine_with: Callable[..., None], take: Callable[..., str | None], tmp_path: Path
) -> None:
    machine_with("GPU-b", "GPU-a")
    (tmp_path / "GPU-b.lock").symlink_to(tmp_path / "elsewhere")
    assert take() == "GPU-a"
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.gpu
def test_nvml_and_torch_list_the_same_gpus() -> None:
    import torch

    found = visible_gpus({})
    assert sorted(uuid[:4] for uuid in found) == ["GPU-"] * torch.cuda.device_count()
