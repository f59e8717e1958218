import shutil
import subprocess
from pathlib import Path

import pytest
import torch

import src.model.accelerator as accelerator_module
from src.core.errors import UserError
from src.model.accelerator import check_accelerator, chosen_accelerator, cuda_of_torch


def test_lightnings_own_variable_chooses_the_device() -> None:
    assert chosen_accelerator({"PL_TRAINER_ACCELERATOR": "gpu", "PL_GLOBAL_SEED": "1"}) == "gpu"
    assert chosen_accelerator({}) == "auto"


@pytest.mark.parametrize("name", ["PL_TRAINER_LIMIT_TRAIN_BATCHES", "PL_TRAINER_MAX_TIME"])
def test_the_environment_says_nothing_else_to_the_trainer(name: str) -> None:
    with pytest.raises(UserError, match=f"^{name}: expected no PL_TRAINER_ variable but PL_TRAINER_ACCELERATOR"):
        chosen_accelerator({name: "1", "PL_TRAINER_ACCELERATOR": "cpu"})


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A driver that says what the environment tells it to."""
    compiler = shutil.which("cc")
    if not compiler:
        pytest.skip("needs a C compiler")
    library = tmp_path_factory.mktemp("driver") / "libcuda.so.1"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, Path(__file__).with_name("libcuda.c")], check=True)
    return str(library)


@pytest.mark.parametrize(
    ("init", "version", "capability", "said"),
    [
        (0, 12040, 90, r"driver.* supports CUDA 12\.4, the installed torch needs 1\d\.0; install driver \d+ or newer"),
        (0, 99000, 70, r"compute capability 7\.0, the installed torch needs 7\.5; choose another GPU"),
        (999, 99000, 90, r"driver does not start \(CUDA error 999\)"),
    ],
    ids=["row-57-old-driver", "row-57-old-gpu", "row-57-broken-driver"],
)
@pytest.mark.parametrize("accelerator", ["auto", "gpu"])
def test_a_gpu_that_torch_cannot_use_is_refused_with_the_way_to_go_on(
    stand_in: str,
    monkeypatch: pytest.MonkeyPatch,
    accelerator: str,
    init: int,
    version: int,
    capability: int,
    said: str,
) -> None:
    answer(monkeypatch, stand_in, init, version, capability)
    with pytest.raises(UserError, match=f"{said}.*, or train on the CPU: PL_TRAINER_ACCELERATOR=cpu dvc repro$"):
        check_accelerator(accelerator)
    check_accelerator("cpu")


def test_a_gpu_that_torch_can_use_passes(stand_in: str, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, stand_in, init=0, version=99000, capability=120)
    check_accelerator("gpu")
    check_accelerator("auto")


@pytest.mark.parametrize("init", [34, 100], ids=["stub", "no-device"])
def test_a_driver_without_a_gpu_is_no_gpu(stand_in: str, monkeypatch: pytest.MonkeyPatch, init: int) -> None:
    answer(monkeypatch, stand_in, init, version=12040, capability=90)
    check_accelerator("auto")
    with pytest.raises(UserError, match="there is no such device"):
        check_accelerator("cuda")


def answer(monkeypatch: pytest.MonkeyPatch, library: str, init: int, version: int, capability: int) -> None:
    monkeypatch.setattr(accelerator_module, "LIBCUDA", library)
    # os.environ reaches C's getenv, too.
    for name, value in (("INIT", init), ("VERSION", version), ("CAPABILITY", capability)):
        monkeypatch.setenv(f"STAND_IN_{name}", str(value))


def test_the_cuda_that_torch_was_built_for_is_known_without_importing_it() -> None:
    built_for = torch.version.cuda
    assert cuda_of_torch() == (int(built_for.split(".")[0]) if built_for else None)
