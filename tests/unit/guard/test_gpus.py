from collections.abc import Callable

import pytest

from src.core.errors import UserError
from src.guard.gpus import Gpu, usable_gpus, visible_gpus

ALL = [[Gpu(name, (9, 0), 1 << 40, blocked=False) for name in names] for names in (
    ("GPU-aa1",), ("GPU-aa2",), ("MIG-m1", "MIG-m2"), ("GPU-bbb",)
)]  # fmt: skip


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
        ("GPU-b,GPU-aa1", ["GPU-bbb", "GPU-aa1"]),
        ("GPU-bbb,GPU-aa", ["GPU-bbb"]),
        ("MIG-m2", ["MIG-m2"]),
        ("MIG-m2,GPU-x,0", ["MIG-m2"]),
    ],
)
def test_the_names_of_cuda_are_understood(names: str | None, expected: list[str]) -> None:
    assert [gpu.uuid for gpu in visible_gpus(ALL, names)] == expected


def test_the_emptiest_comes_first_and_none_that_cannot_be_used(machine_with: Callable[..., None]) -> None:
    machine_with(
        "GPU-busy 90 9000 0 1 0",
        "GPU-closed-by-slurm 0 80000 0 0 0",
        "GPU-old 61 80000 0 0 0",
        "GPU-free 80 70000 0 0 0",
        "GPU-exclusive 90 79000 3 1 0",
        "GPU-unknown 121 -1 0 0 0",
        "GPU-parent 90 80000 0 0 1",
        "MIG-one 90 8000 0 0 2",
        "MIG-two 90 10000 0 0 2",
    )
    names = ["GPU-free", "MIG-two", "GPU-busy", "MIG-one", "GPU-unknown"]
    assert [gpu.uuid for gpu in usable_gpus({})] == names
    # A number counts what is open to this process.
    assert [gpu.uuid for gpu in usable_gpus({"CUDA_VISIBLE_DEVICES": "2,0"})] == ["GPU-free", "GPU-busy"]


def test_too_few_are_refused_each_with_its_reason(machine_with: Callable[..., None]) -> None:
    machine_with("GPU-a 90 9000 0 1 0", "GPU-b 90 10 0 1 0")
    with pytest.raises(UserError, match=r"^2 GPUs are needed, 1 of 2 visible can be used: GPU-b has 10 MiB of free"):
        usable_gpus({}, count=2)
    with pytest.raises(UserError, match=r"^2 GPUs are needed, 1 of 1 visible can be used; free one, choose others"):
        usable_gpus({"CUDA_VISIBLE_DEVICES": "0"}, count=2)
    assert usable_gpus({"CUDA_VISIBLE_DEVICES": ""}, count=2) == []


@pytest.mark.usefixtures("no_driver")
def test_a_machine_without_a_driver_has_none() -> None:
    assert usable_gpus({}) == []
