"""Several processes that train together: how they connect, agree, and appear to Lightning."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
from lightning_fabric.plugins.environments import LightningEnvironment
from pytorch_lightning.strategies import DDPStrategy

from src.core.errors import UserError
from src.mnist.model.processes import Processes

# Longest wait for another process: for its start, where a network drive may be slow, or for its part of a step.
TIMEOUT = timedelta(minutes=5)
Value = TypeVar("Value")


@contextmanager
def connected(processes: Processes, device: torch.device) -> Iterator[None]:
    """Connect the processes: on CUDA with NCCL, otherwise with gloo.

    Args:
        processes: This one among the others; nothing happens if it is alone.
        device: Kind of device that they compute on.
    """
    if processes.count == 1:
        yield
        return
    backend = "gloo"
    if device.type == "cuda":
        torch.cuda.set_device(processes.local_rank % torch.cuda.device_count())
        backend = "cpu:gloo,cuda:nccl"
    torch.distributed.init_process_group(
        backend,
        init_method=f"tcp://{processes.address}:{processes.port}",
        rank=processes.rank,
        world_size=processes.count,
        timeout=TIMEOUT,
    )
    try:
        yield
    finally:
        torch.distributed.destroy_process_group()


def check_same(inputs: Mapping[str, str], processes: Processes) -> None:
    """Check that all processes compute the same thing: on other nodes, code, data or processor may be others.

    Args:
        inputs: Everything that determines the result, by name.
        processes: They are connected.

    Raises:
        UserError: If something differs; in every process.
    """
    if processes.count == 1:
        return
    everyone: list[Any] = [None] * processes.count
    torch.distributed.all_gather_object(everyone, dict(inputs))
    first = everyone[0]
    for rank, others in enumerate(everyone):
        names = [name for name in {**first, **others} if first.get(name) != others.get(name)]
        if names:
            raise UserError(
                f"{', '.join(names)}: process {rank} of {processes.count} has another value than process 0, so the "
                "result would depend on which one computes what; run all processes on equal inputs and machines"
            )


def broadcast(value: Value, processes: Processes) -> Value:
    """The value of process 0, in every process."""
    values = [value]
    if processes.count > 1:
        torch.distributed.broadcast_object_list(values, src=0)
    return values[0]


class ConnectedEnvironment(LightningEnvironment):
    """Describes processes that are already started and connected.

    A single process needs it, too: in a batch system, Lightning would otherwise requeue the job and resume from any
    `hpc_ckpt_*` in its root folder.
    """

    def __init__(self, processes: Processes) -> None:
        super().__init__()
        self.processes = processes

    @property
    def creates_processes_externally(self) -> bool:
        """Lightning starts none."""
        return True

    def world_size(self) -> int:
        """Number of processes."""
        return self.processes.count

    def global_rank(self) -> int:
        """Number of this process."""
        return self.processes.rank

    def local_rank(self) -> int:
        """Its number on its machine."""
        return self.processes.local_rank

    def set_world_size(self, size: int) -> None:
        """Ignored: the processes are already started."""

    def set_global_rank(self, rank: int) -> None:
        """Ignored: the processes are already started."""


class ShardedStrategy(DDPStrategy):
    """Lightning's strategy for several processes, without its way to combine gradients.

    PyTorch's wrapper adds gradients in an order that depends on the number of processes. `ShardedBackward` replaces it.
    """

    @property
    def root_device(self) -> torch.device:
        """The device of this process; SLURM may show each process its own one only."""
        assert self.parallel_devices is not None
        return self.parallel_devices[self.local_rank % len(self.parallel_devices)]

    def setup_environment(self) -> None:
        """Undo Lightning's choice of the number of threads, which depends on the number of processes."""
        threads = torch.get_num_threads()
        super().setup_environment()
        torch.set_num_threads(threads)

    def configure_ddp(self) -> None:
        """Leave the module as it is."""

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """Let process 0 read the file: other nodes need not have it, and no process may find another one."""
        checkpoint = super().load_checkpoint(checkpoint_path, weights_only) if self.is_global_zero else {}
        return self.broadcast(checkpoint)
