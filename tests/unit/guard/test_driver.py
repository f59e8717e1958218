from collections.abc import Callable
from importlib.metadata import version

import pytest
import torch

from src.core.errors import UserError
from src.guard import gpus
from src.guard.driver import check_accelerator, cuda_of_torch
from tests.conftest import REPOSITORY

FREE = "GPU-a 90 80000 0 0 0"
OLD_DRIVER = {"init": 0, "version": 11080}
REFUSED = [
    (FREE, OLD_DRIVER, r"driver.* supports CUDA 11\.8, the installed torch needs 1\d\.0; install driver \d+ or newer"),
    (FREE, {"init": 999}, r"driver does not start \(CUDA error 999\)"),
    ("GPU-a 70 80000 0 0 0", {}, r"GPU-a has compute capability 7\.0, the installed torch supports 7\.5 to 12\.x"),
    ("GPU-a 110 80000 0 0 0", {}, r"GPU-a has compute capability 11\.0, .* except 11\.x"),
    ("GPU-a 90 500 0 0 0", {}, r"GPU-a has 500 MiB of free memory, \d+ MiB are needed; free one, choose others with"),
    ("GPU-a 90 80000 3 1 0", {}, "GPU-a is in exclusive mode and in use"),
    ("GPU-a 90 80000 2 0 0", {}, "GPU-a is in exclusive mode and in use, or closed to computing"),
]


@pytest.mark.parametrize(
    ("device", "driver", "problem"),
    REFUSED,
    ids=[f"row-57-{name}" for name in ("old-driver", "broken-driver", "old", "11", "full", "exclusive", "closed")],
)
@pytest.mark.parametrize("accelerator", ["auto", "gpu"])
def test_a_gpu_that_cannot_be_used_is_refused_with_the_way_to_go_on(
    machine_with: Callable[..., None], accelerator: str, device: str, driver: dict[str, int], problem: str
) -> None:
    machine_with(device, **driver)
    with pytest.raises(UserError, match=f"{problem}.*, or train on the CPU: PL_TRAINER_ACCELERATOR=cpu dvc repro$"):
        check_accelerator(accelerator, {})
    check_accelerator("cpu", {})


@pytest.mark.parametrize("capability", [75, 80, 86, 87, 89, 90, 100, 103, 120, 121])
def test_a_gpu_that_torch_can_use_passes(machine_with: Callable[..., None], capability: int) -> None:
    machine_with(f"GPU-a {capability} 80000 0 0 0")
    check_accelerator("gpu", {})
    check_accelerator("auto", {})


def test_one_gpu_that_can_be_used_is_enough(machine_with: Callable[..., None]) -> None:
    machine_with("GPU-a 61 80000 0 0 0", FREE.replace("-a", "-b"))
    check_accelerator("gpu", {})
    with pytest.raises(UserError, match=r"1 GPU is needed, 0 of 1 visible can be used: GPU-a has compute cap"):
        check_accelerator("gpu", {"CUDA_VISIBLE_DEVICES": "0"})


def test_without_the_management_library_the_first_gpu_counts(
    machine_with: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpus, "LIBNVML", "libnothing.so")
    machine_with(FREE, "GPU-b 61 80000 0 0 0")
    check_accelerator("gpu", {})
    machine_with("GPU-b 61 80000 0 0 0", FREE)
    with pytest.raises(UserError, match=r"^the GPU has compute capability 6\.1, .*; choose another GPU with CUDA"):
        check_accelerator("gpu", {})


@pytest.mark.parametrize("init", [34, 100], ids=["stub", "no-device"])
def test_a_driver_without_a_gpu_is_no_gpu(machine_with: Callable[..., None], init: int) -> None:
    machine_with(FREE, init=init, version=12040)
    check_accelerator("auto", {})
    with pytest.raises(UserError, match="there is no such device"):
        check_accelerator("cuda", {})


def test_the_cuda_that_torch_was_built_for_is_known_without_importing_it() -> None:
    built_for = torch.version.cuda
    assert cuda_of_torch() == (int(built_for.split(".")[0]) if built_for else None)


@pytest.mark.skipif(
    f"torch=={version('torch')}" not in (REPOSITORY / "requirements.txt").read_text().split(),
    reason="another torch is installed than the pinned one",
)
def test_the_kernels_of_the_pinned_torch_are_known() -> None:
    # Such as `sm_75 sm_120`.
    built = [flag.removeprefix("sm_") for flag in str(torch._C._cuda_getArchFlags()).split()]
    assert [(int(flag[:-1]), int(flag[-1])) for flag in built] == list(gpus.KERNELS)
