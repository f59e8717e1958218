from collections.abc import Callable
from pathlib import Path

import pytest

from src.guard import driver, gpu_lease, gpus
from tests.conftest import said


@pytest.fixture
def no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes this a machine without a GPU."""
    monkeypatch.setattr(driver, "LIBCUDA", "libnothing.so")
    monkeypatch.setattr(gpus, "LIBNVML", "libnothing.so")


@pytest.fixture
def machine_with(stand_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes this a machine with such GPUs and such a driver, for this process."""
    monkeypatch.setattr(driver, "LIBCUDA", str(stand_in / driver.LIBCUDA))
    monkeypatch.setattr(gpus, "LIBNVML", str(stand_in / gpus.LIBNVML))
    monkeypatch.setattr(gpu_lease, "LEASES", tmp_path)

    def answer(*devices: str, **driver: int) -> None:
        # os.environ reaches C's getenv, too.
        for name, value in said(*devices, **driver).items():
            monkeypatch.setenv(name, value)

    return answer
