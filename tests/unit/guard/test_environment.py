import pytest

from src.core.errors import UserError
from src.guard.environment import Devices, chosen_devices, forget_torchrun, sanitize

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


def test_a_run_is_one_process_on_any_device_unless_it_is_asked_for_another() -> None:
    assert chosen_devices({"PL_GLOBAL_SEED": "1"}) == Devices("auto", 1, None)
    chosen = {"PL_TRAINER_ACCELERATOR": "gpu", "PL_TRAINER_DEVICES": "4"}
    assert chosen_devices(chosen) == Devices("gpu", 4, None)


def test_torchruns_variables_are_believed() -> None:
    assert chosen_devices(TORCHRUN) == Devices("auto", 4, 3)
    assert chosen_devices({**TORCHRUN, "PL_TRAINER_DEVICES": "4"}) == Devices("auto", 4, 3)
    assert chosen_devices({**TORCHRUN, "RANK": "0", "WORLD_SIZE": "1"}) == Devices()


@pytest.mark.parametrize("missing", [name for name in TORCHRUN if name != "MASTER_ADDR"])
def test_left_over_variables_mean_nothing(missing: str) -> None:
    stray = {name: value for name, value in TORCHRUN.items() if name != missing}
    assert chosen_devices(stray) == Devices()
    assert chosen_devices({**stray, missing: ""} if missing != "TORCHELASTIC_RUN_ID" else stray) == Devices()


def test_a_batch_system_decides_nothing() -> None:
    assert chosen_devices({"SLURM_PROCID": "1", "SLURM_NTASKS": "2", "SLURM_STEP_NUM_TASKS": "2"}) == Devices()


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"PL_TRAINER_DEVICES": "two"}, "PL_TRAINER_DEVICES: expected a whole number of at least 1, got 'two'"),
        ({"PL_TRAINER_DEVICES": "0"}, "PL_TRAINER_DEVICES: expected a whole number of at least 1, got '0'"),
        ({"PL_TRAINER_DEVICES": "-1"}, "PL_TRAINER_DEVICES: expected a whole number of at least 1, got '-1'"),
        ({"PL_TRAINER_DEVICES": "9" * 5000}, "PL_TRAINER_DEVICES: expected a whole number of at least 1, got '9999"),
        ({**TORCHRUN, "PL_TRAINER_DEVICES": "2"}, "PL_TRAINER_DEVICES is 2, but torchrun started 4 processes"),
        ({"PL_TRAINER_ACCELERATOR": "abacus"}, "PL_TRAINER_ACCELERATOR: expected one of auto, cpu, .*, got 'abacus'"),
        ({"PL_TRAINER_MAX_TIME": "1"}, "PL_TRAINER_MAX_TIME: expected no PL_TRAINER_ variable but PL_TRAINER_ACC"),
        ({"PL_TRAINER_NUM_NODES": "2"}, "PL_TRAINER_NUM_NODES: expected no PL_TRAINER_ variable but PL_TRAINER_ACC"),
    ],
)
def test_nonsense_is_refused_by_name(environ: dict[str, str], said: str) -> None:
    with pytest.raises(UserError, match=f"^{said}"):
        chosen_devices(environ)


def test_a_single_process_forgets_all_that_torchrun_would_tell_it() -> None:
    environ = {**TORCHRUN, "HOME": "/"}
    forget_torchrun(environ)
    assert environ == {"HOME": "/"}


def test_on_the_cpu_the_gpus_are_hidden() -> None:
    environ = {"PL_TRAINER_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": "1", "OMP_DYNAMIC": "TRUE"}
    sanitize(environ)
    assert environ == {"PL_TRAINER_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": "", "GOMP_SPINCOUNT": "30000"}


@pytest.mark.parametrize(
    ("chosen", "spins"), [({}, "30000"), ({"OMP_WAIT_POLICY": "PASSIVE"}, None), ({"GOMP_SPINCOUNT": "7"}, "7")]
)
def test_waiting_threads_soon_sleep_unless_the_user_chose_otherwise(chosen: dict[str, str], spins: str | None) -> None:
    sanitize(chosen)
    assert chosen.get("GOMP_SPINCOUNT") == spins
