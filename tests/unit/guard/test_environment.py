import os

import pytest

from src.core.errors import UserError
from src.guard.environment import COUNT, LAUNCHER, STRAYS, Devices, chosen_devices, sanitize

pytestmark = pytest.mark.fault(73)


def test_a_run_is_one_process_on_any_device_unless_it_is_asked_for_another() -> None:
    assert chosen_devices({"PL_GLOBAL_SEED": "1"}) == Devices("auto", 1, None)
    chosen = {"PL_TRAINER_ACCELERATOR": "gpu", "PL_TRAINER_DEVICES": "4"}
    assert chosen_devices(chosen) == Devices("gpu", 4, None)


def test_what_the_parent_has_launched_knows_its_number_and_what_others_left_is_removed() -> None:
    environ = dict.fromkeys(STRAYS, "1") | {COUNT: "2", LAUNCHER: str(os.getppid())}
    assert chosen_devices(environ) == Devices("auto", 2, 1)
    assert environ.keys() >= set(STRAYS)
    for launcher in ({}, {LAUNCHER: str(os.getpid())}):
        environ = dict.fromkeys(STRAYS, "1") | launcher
        assert chosen_devices(environ) == Devices()
        assert environ == launcher


def test_a_batch_system_decides_nothing() -> None:
    environ = {"SLURM_PROCID": "1", "SLURM_NTASKS": "2", "SLURM_STEP_NUM_TASKS": "2"}
    assert chosen_devices(environ) == Devices()


@pytest.mark.fault(40)
@pytest.mark.parametrize(
    ("environ", "said"),
    [
        *(
            ({"PL_TRAINER_DEVICES": value}, f"PL_TRAINER_DEVICES: expected a whole number of at least 1, got '{value}'")
            for value in ("two", "0", "-1", "9" * 5000)
        ),
        ({"TORCHELASTIC_RUN_ID": "none"}, "torchrun cannot start a stage or dvc; run `PL_TRAINER_DEVICES=N dvc repro`"),
        ({"PL_TRAINER_ACCELERATOR": "abacus"}, "PL_TRAINER_ACCELERATOR: expected one of auto, cpu, .*, got 'abacus'"),
        ({"PL_TRAINER_MAX_TIME": "1"}, "PL_TRAINER_MAX_TIME: expected no PL_TRAINER_ variable but PL_TRAINER_ACC"),
    ],
)
def test_nonsense_is_refused_by_name(environ: dict[str, str], said: str) -> None:
    with pytest.raises(UserError, match=f"^{said}"):
        chosen_devices(environ)


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
