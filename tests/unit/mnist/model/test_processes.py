import os
from collections.abc import Mapping

import pytest

from src.core.errors import UserError
from src.mnist.model.processes import LEADER, Processes, check_processes, chosen_processes

STANDARD = {
    "RANK": "3",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "node0",
    "MASTER_PORT": "29500",
}
TORCHRUN = {**STANDARD, "TORCHELASTIC_RUN_ID": "none"}
# As slurm 22.05 sets them for one task of `srun --nodes=2 --ntasks-per-node=2`.
SRUN = {
    "SLURM_JOB_ID": "1234567",
    "SLURM_NTASKS": "4",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
    "SLURM_STEP_NODELIST": "gpu[07-08]",
    "SLURM_NODEID": "1",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
}


def test_a_run_is_one_process_unless_it_is_asked_for_more() -> None:
    assert chosen_processes({}) == Processes(count=1)
    assert chosen_processes({"PL_TRAINER_DEVICES": "4"}) == Processes(count=4, local_count=4)


@pytest.mark.parametrize("parent", [os.getpid(), os.getppid()], ids=["stage", "above the stage"])
def test_a_process_started_by_the_stage_is_one_of_several(parent: int) -> None:
    found = chosen_processes({**STANDARD, LEADER: str(parent)})
    assert found == Processes(3, 4, 1, 2, "stage", "node0", 29500)


def test_a_process_whose_stage_has_ended_does_not_run_on_alone() -> None:
    with pytest.raises(UserError, match="the process that started this one has ended"):
        chosen_processes({**STANDARD, LEADER: "1"})


def test_torchruns_variables_are_believed() -> None:
    assert chosen_processes(TORCHRUN) == Processes(3, 4, 1, 2, "torchrun", "node0", 29500)
    assert chosen_processes({**TORCHRUN, "RANK": "0", "WORLD_SIZE": "1"}) == Processes()


@pytest.mark.parametrize("stray", [STANDARD, {"LOCAL_RANK": "1"}, {"RANK": "1", "WORLD_SIZE": "2"}])
def test_ranks_that_no_launcher_stands_behind_mean_nothing(stray: Mapping[str, str]) -> None:
    assert chosen_processes(stray) == Processes()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, Processes(3, 4, 1, 2, "srun", "gpu07", 19567)),
        ({"SLURM_STEP_NODELIST": "login,gpu1"}, Processes(3, 4, 1, 2, "srun", "login", 19567)),
        ({"SLURM_STEP_NODELIST": "a[3,5]-ib,b1"}, Processes(3, 4, 1, 2, "srun", "a3-ib", 19567)),
        ({"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "9"}, Processes(3, 4, 1, 2, "srun", "10.0.0.1", 9)),
        (
            {"SLURM_STEP_TASKS_PER_NODE": "2,1(x2)", "SLURM_NODEID": "2", "SLURM_LOCALID": "0"},
            Processes(3, 4, 0, 1, "srun", "gpu07", 19567),
        ),
        ({"SLURM_JOB_ID": "7"}, Processes(3, 4, 1, 2, "srun", "gpu07", 15007)),
    ],
)
def test_sruns_variables_are_believed(changes: Mapping[str, str], expected: Processes) -> None:
    assert chosen_processes({**SRUN, **changes}) == expected


def test_in_a_batch_script_outside_srun_a_run_is_one_process() -> None:
    names = ("SLURM_JOB_ID", "SLURM_NTASKS", "SLURM_NODEID", "SLURM_PROCID", "SLURM_LOCALID")
    assert chosen_processes({name: SRUN[name] for name in names} | {"SLURM_PROCID": "0"}) == Processes()


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"PL_TRAINER_DEVICES": "two"}, "PL_TRAINER_DEVICES: expected a whole number of at least 1, got 'two'"),
        ({"PL_TRAINER_DEVICES": "0"}, "PL_TRAINER_DEVICES: expected a whole number of at least 1, got '0'"),
        ({"PL_TRAINER_DEVICES": "-1"}, "PL_TRAINER_DEVICES: expected a whole number of at least 1, got '-1'"),
        ({"PL_TRAINER_NUM_NODES": "2"}, "PL_TRAINER_NUM_NODES is 2, but nothing started a process on each node"),
        (
            {**TORCHRUN, "PL_TRAINER_DEVICES": "2"},
            "PL_TRAINER_DEVICES is 2, but torchrun started 4 processes; unset it",
        ),
        (
            {**SRUN, "PL_TRAINER_DEVICES": "4", "PL_TRAINER_NUM_NODES": "2"},
            "PL_TRAINER_DEVICES is 4 and PL_TRAINER_NUM_NODES is 2, but srun started 4 processes; unset it",
        ),
    ],
)
def test_nonsense_is_refused_by_name(environ: Mapping[str, str], said: str) -> None:
    with pytest.raises(UserError, match=f"^{said}"):
        chosen_processes(environ)


def test_what_agrees_with_the_launcher_is_no_nonsense() -> None:
    agreeing = {"PL_TRAINER_DEVICES": "2", "PL_TRAINER_NUM_NODES": "2"}
    assert chosen_processes({**TORCHRUN, **agreeing}) == chosen_processes(TORCHRUN)


def test_processes_that_do_not_divide_the_shards_are_refused() -> None:
    for count in (1, 2, 3, 6):
        check_processes(Processes(count=count), shards=6)
    with pytest.raises(UserError, match=r"^PL_TRAINER_DEVICES is 4, but .* 6 shards: expected 1, 2, 3, 6 processes; "):
        check_processes(Processes(count=4), shards=6)
    with pytest.raises(UserError, match=r"^PL_TRAINER_DEVICES is 2, but .* 1 shard: expected 1 process; "):
        check_processes(Processes(count=2), shards=1)
    with pytest.raises(UserError, match=r"^torchrun started 8, but .* 4 shards: "):
        check_processes(Processes(count=8, launcher="torchrun"), shards=4)


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"TORCHELASTIC_RUN_ID": "left over"}, "^WORLD_SIZE: is missing"),
        ({**TORCHRUN, "WORLD_SIZE": "many"}, "^WORLD_SIZE: expected a whole number, got 'many'"),
        ({**TORCHRUN, "MASTER_PORT": ""}, "^MASTER_PORT: expected a whole number, got ''"),
        ({name: value for name, value in TORCHRUN.items() if name != "MASTER_ADDR"}, "^MASTER_ADDR: is missing"),
        ({**SRUN, "SLURM_PROCID": "x"}, "^SLURM_PROCID: expected a whole number"),
        ({**SRUN, "SLURM_NODEID": "2"}, "^SLURM_NODEID is 2, but SLURM_STEP_TASKS_PER_NODE names 2 nodes"),
    ],
)
def test_a_launchers_variables_that_make_no_sense_are_named(environ: Mapping[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        chosen_processes(environ)
