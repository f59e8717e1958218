"""Several processes that train together: how they connect, agree, and appear to Lightning."""

import os
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import torch
from pytorch_lightning.strategies import DDPStrategy
from torch import distributed

from src.core.errors import UserError

# Longest wait for another process: for its start, where a network drive may be slow, or for its part of a step.
TIMEOUT = timedelta(minutes=5)


def connect(device: torch.device) -> None:
    """Connect the processes that torchrun has started: on CUDA with NCCL, otherwise with gloo."""
    if distributed.is_torchelastic_launched():
        if device.type == "cuda":
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        distributed.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=TIMEOUT)


def rank_and_count() -> tuple[int, int]:
    """Number of this process among those that train together, from 0, and how many they are."""
    return (distributed.get_rank(), distributed.get_world_size()) if distributed.is_initialized() else (0, 1)


def check_same(inputs: Mapping[str, str]) -> None:
    """Check that all processes have the same inputs: on other nodes, code, data or processor may be others.

    Raises:
        UserError: If something differs; in every process.
    """
    _, count = rank_and_count()
    if count == 1:
        return
    everyone: list[Any] = [None] * count
    distributed.all_gather_object(everyone, dict(inputs))
    first = everyone[0]
    for rank, others in enumerate(everyone):
        names = [name for name in {**first, **others} if first.get(name) != others.get(name)]
        if names:
            raise UserError(
                f"{', '.join(names)}: process {rank} of {count} has another value than process 0, so the "
                "result would depend on which one computes what; run all processes on equal inputs and machines"
            )


class ShardedStrategy(DDPStrategy):
    """Lightning's strategy for several processes, without its way to combine gradients.

    PyTorch's wrapper adds gradients in an order that depends on the number of processes. `ShardedBackward` replaces it.
    """

    def setup_environment(self) -> None:
        """Undo Lightning's choice of the number of threads, which depends on the number of processes."""
        threads = torch.get_num_threads()
        super().setup_environment()
        torch.set_num_threads(threads)

    def configure_ddp(self) -> None:
        """Leave the module as it is."""

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """Let process 0 read the file: other nodes need not have it, and no process may find another one."""
        return self.broadcast(super().load_checkpoint(checkpoint_path, weights_only) if self.is_global_zero else {})
