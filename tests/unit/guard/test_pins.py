from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from src.core.errors import UserError
from src.guard.pins import check_installed, pinned_versions

pytestmark = pytest.mark.fault(92)

LOCK = """\
numpy==2.4.6 \\
    --hash=sha256:00
Torch_Lightning==2.6.6 ; sys_platform == 'linux' \\
    --hash=sha256:00
old==1.0 ; python_full_version < '3.11'  # via numpy
old==2.0 ; python_full_version >= '3.11' \\
    --hash=sha256:00
twice==1
twice==2
"""


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    path = tmp_path / "requirements.lock"
    path.write_text(LOCK)
    return path


def test_only_applicable_pins_are_read(lock: Path) -> None:
    assert pinned_versions(lock, dict.fromkeys(["numpy", "torch-lightning", "old"], SpecifierSet())) == {
        "numpy": "2.4.6",
        "torch-lightning": "2.6.6",
        "old": "2.0",
    }


@pytest.mark.parametrize(("name", "got"), [("absent", "none"), ("twice", "1, 2"), ("numpy", "2.4.6")])
def test_package_without_exactly_one_pin_of_the_required_version_is_rejected(lock: Path, name: str, got: str) -> None:
    with pytest.raises(
        UserError, match=rf"requirements.lock: expected one version of {name}==1, got {got}; `make lock"
    ):
        pinned_versions(lock, {name: SpecifierSet("==1")})


def test_malformed_pin_is_reported(lock: Path) -> None:
    lock.write_text(f"{LOCK}torch==1 ; system = 'linux'\n")
    with pytest.raises(
        UserError, match=r"^.*requirements.lock: expected NAME==VERSION, got \"torch==1 ; system = 'linux'"
    ):
        pinned_versions(lock, {"numpy": SpecifierSet()})


def test_version_mismatch_is_reported_with_both_repairs() -> None:
    pins = {"numpy": version("numpy"), "pytorch-lightning": "1", "torch": "1"}
    with pytest.raises(UserError) as caught:
        check_installed(pins, {"UNPINNED": "torch"})
    assert str(caught.value) == (
        f"pytorch-lightning {version('pytorch-lightning')} is installed, requirements.lock pins 1; run `make repro`, "
        "or set UNPINNED=pytorch-lightning,torch to use it on purpose"
    )
    assert check_installed(pins, {"UNPINNED": "Torch, pytorch_lightning"}) == {
        "pytorch-lightning": f"{version('pytorch-lightning')} instead of 1",
        "torch": f"{version('torch')} instead of 1",
    }
