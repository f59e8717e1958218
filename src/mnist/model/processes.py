"""The processes that train one model together, as the environment describes them; does not import torch."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from src.core.errors import UserError
from src.mnist.model.accelerator import PREFIX

DEVICES, NODES = f"{PREFIX}DEVICES", f"{PREFIX}NUM_NODES"
# Process id of the stage that started this process as a part of itself. LOCAL_RANK and RANK alone prove nothing: they
# may be left over from anything.
LEADER = "STAGE_LEADER"
# Where the processes of a node meet; Lightning's first port for SLURM, to which it adds the end of the job's number.
LOOPBACK, SLURM_PORT = "127.0.0.1", 15000


@dataclass(frozen=True)
class Processes:
    """One of the processes of a run, and how it finds the others.

    Attributes:
        rank: Its number among all processes; process 0 alone writes outputs.
        count: Number of processes.
        local_rank: Its number among those of its machine.
        local_count: Number of processes on its machine.
        launcher: What started them: `torchrun`, `srun`, the stage itself (`stage`); empty if they are not started yet.
        address: Host name or address of the machine of process 0.
        port: The port there at which they meet.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    local_count: int = 1
    launcher: str = ""
    address: str = LOOPBACK
    port: int = 0

    def __str__(self) -> str:
        return f"process {self.rank} of {self.count}"


def chosen_processes(environ: Mapping[str, str]) -> Processes:
    """The processes that the environment asks for.

    Raises:
        UserError: If a variable is missing or is not a whole number, or if two of them contradict each other.
    """
    devices, nodes = (_positive(name, environ.get(name, "1")) for name in (DEVICES, NODES))
    processes = _launched(environ)
    if processes is None:
        if nodes > 1:
            raise UserError(f"{NODES} is {nodes}, but nothing started a process on each node; use torchrun or srun")
        return Processes(count=devices, local_count=devices)
    asked = {name: environ[name] for name in (DEVICES, NODES) if name in environ}
    if asked and devices * nodes != processes.count:
        numbers = " and ".join(f"{name} is {value}" for name, value in asked.items())
        raise UserError(f"{numbers}, but {processes.launcher} started {processes.count} processes; unset it")
    return processes


def check_processes(processes: Processes, shards: int) -> None:
    """Check that each process would compute as many shards as any other.

    Raises:
        UserError: If the number of processes does not divide that of the shards.
    """
    if shards % processes.count:
        source = f"{DEVICES} is" if processes.launcher in ("", "stage") else f"{processes.launcher} started"
        fitting = ", ".join(str(count) for count in range(1, shards + 1) if shards % count == 0)
        raise UserError(
            f"{source} {processes.count}, but params.yaml cuts a batch into {shards} shard{'s' if shards > 1 else ''}: "
            f"expected {fitting} process{'es' if shards > 1 else ''}; change their number or shards"
        )


def _launched(environ: Mapping[str, str]) -> Processes | None:
    """The processes that a launcher has started; None if this one was not started as one of several."""
    if LEADER in environ:
        if environ[LEADER] not in (str(os.getpid()), str(os.getppid())):
            raise UserError("the process that started this one has ended; run `dvc repro` again")
        return _standard(environ, "stage")
    if "TORCHELASTIC_RUN_ID" in environ and _whole(environ, "WORLD_SIZE") > 1:
        return _standard(environ, "torchrun")
    # Only srun sets this one. A batch script has SLURM_NTASKS, too: the number of tasks that srun would start.
    if "SLURM_STEP_NUM_TASKS" in environ and _whole(environ, "SLURM_STEP_NUM_TASKS") > 1:
        return _of_slurm(environ)
    return None


def _standard(environ: Mapping[str, str], launcher: str) -> Processes:
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    rank, count, local_rank, local_count = (_whole(environ, name) for name in names)
    address, port = _text(environ, "MASTER_ADDR"), _whole(environ, "MASTER_PORT")
    return Processes(rank, count, local_rank, local_count, launcher, address, port)


def _of_slurm(environ: Mapping[str, str]) -> Processes:
    # Such as `2(x3),1`: two tasks on each of three nodes, one on the fourth.
    tasks = [
        int(number)
        for number, times in re.findall(r"(\d+)(?:\(x(\d+)\))?", _text(environ, "SLURM_STEP_TASKS_PER_NODE"))
        for _ in range(int(times or 1))
    ]
    node, job = _whole(environ, "SLURM_NODEID"), _whole(environ, "SLURM_JOB_ID")
    if node >= len(tasks):
        raise UserError(f"SLURM_NODEID is {node}, but SLURM_STEP_TASKS_PER_NODE names {len(tasks)} nodes; use srun")
    # Such as `gpu[07-09,12],login`: the first name is gpu07.
    first = re.match(r"([^\[,]+)(?:\[([^-,\]]+)[^\]]*\]([^,]*))?", _text(environ, "SLURM_STEP_NODELIST"))
    address = "".join(part or "" for part in first.groups()) if first else LOOPBACK
    return Processes(
        rank=_whole(environ, "SLURM_PROCID"),
        count=_whole(environ, "SLURM_STEP_NUM_TASKS"),
        local_rank=_whole(environ, "SLURM_LOCALID"),
        local_count=tasks[node],
        launcher="srun",
        address=environ.get("MASTER_ADDR", address),
        port=_whole(environ, "MASTER_PORT") if "MASTER_PORT" in environ else SLURM_PORT + job % 10_000,
    )


def _text(environ: Mapping[str, str], name: str) -> str:
    if name not in environ:
        raise UserError(f"{name}: is missing among the variables of a launcher; start the stage with torchrun or srun")
    return environ[name]


def _whole(environ: Mapping[str, str], name: str) -> int:
    value = _text(environ, name)
    if not (value.isascii() and value.isdecimal()):
        raise UserError(f"{name}: expected a whole number, got {value!r}; start the stage with torchrun or srun")
    return int(value)


def _positive(name: str, value: str) -> int:
    if not (value.isascii() and value.isdecimal() and int(value) > 0):
        raise UserError(f"{name}: expected a whole number of at least 1, got {value!r}")
    return int(value)
