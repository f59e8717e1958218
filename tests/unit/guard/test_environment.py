import pytest

from src.core.errors import UserError
from src.guard.environment import NUMBERS, Devices, chosen_devices, sanitize

pytestmark = pytest.mark.fault(73)

TORCHRUN = {
    "RANK": "3",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "node0",
    "MASTER_PORT": "29500",
    "TORCHELASTIC_RUN_ID": "none",
}


def test_default_is_one_process_on_any_device() -> None:
    assert chosen_devices({"PL_GLOBAL_SEED": "1"}, is_shared=True) == Devices("auto", 1, None)
    chosen = {"PL_TRAINER_ACCELERATOR": "gpu", "PL_TRAINER_DEVICES": "4"}
    assert chosen_devices(chosen, is_shared=True) == Devices("gpu", 4, None)


def test_torchrun_variables_apply_only_to_shared_stages() -> None:
    for more in ({}, {"PL_TRAINER_DEVICES": "4"}):
        environ = {**TORCHRUN, **more}
        assert chosen_devices(environ, is_shared=True) == Devices("auto", 4, 3)
        assert environ == {**TORCHRUN, **more}
    environ = {**TORCHRUN, "HOME": "/"}
    assert chosen_devices(environ, is_shared=False) == Devices("auto", 4, None)
    assert environ == {"HOME": "/"}


@pytest.mark.parametrize(
    "changes",
    [
        *({name: None} for name in TORCHRUN if name != "MASTER_ADDR"),
        *({name: ""} for name in NUMBERS),
        {"RANK": "0", "WORLD_SIZE": "1"},
    ],
)
def test_leftover_variables_are_removed(changes: dict[str, str | None]) -> None:
    environ = {name: value for name, value in {**TORCHRUN, **changes}.items() if value is not None}
    assert chosen_devices(environ, is_shared=True) == Devices()
    assert environ == {}


def test_batch_system_variables_are_ignored() -> None:
    environ = {"SLURM_PROCID": "1", "SLURM_NTASKS": "2", "SLURM_STEP_NUM_TASKS": "2"}
    assert chosen_devices(environ, is_shared=True) == Devices()


@pytest.mark.fault(40)
@pytest.mark.parametrize(
    ("environ", "said"),
    [
        *(
            ({"PL_TRAINER_DEVICES": value}, f"PL_TRAINER_DEVICES: expected a whole number of at least 1, got '{value}'")
            for value in ("two", "0", "-1", "9" * 5000)
        ),
        ({**TORCHRUN, "PL_TRAINER_DEVICES": "2"}, "PL_TRAINER_DEVICES is 2, but torchrun started 4 processes"),
        ({"PL_TRAINER_ACCELERATOR": "abacus"}, "PL_TRAINER_ACCELERATOR: expected one of auto, cpu, .*, got 'abacus'"),
        ({"PL_TRAINER_MAX_TIME": "1"}, "PL_TRAINER_MAX_TIME: expected no PL_TRAINER_ variable but PL_TRAINER_ACC"),
    ],
)
def test_invalid_variables_are_rejected_by_name(environ: dict[str, str], said: str) -> None:
    with pytest.raises(UserError, match=f"^{said}"):
        chosen_devices(environ, is_shared=True)


def test_gpus_are_hidden_on_the_cpu() -> None:
    environ = {"PL_TRAINER_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": "1", "OMP_DYNAMIC": "TRUE"}
    sanitize(environ)
    assert environ == {"PL_TRAINER_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": "", "GOMP_SPINCOUNT": "5000"}


@pytest.mark.parametrize(
    ("chosen", "spins"), [({}, "5000"), ({"OMP_WAIT_POLICY": "PASSIVE"}, None), ({"GOMP_SPINCOUNT": "7"}, "7")]
)
def test_threads_sleep_early_by_default(chosen: dict[str, str], spins: str | None) -> None:
    sanitize(chosen)
    assert chosen.get("GOMP_SPINCOUNT") == spins
