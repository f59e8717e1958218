"""Distributed training: how processes connect and agree. To Lightning, each is the only process."""

import os
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import torch
from torch import distributed

from src.core.errors import UserError

# Timeout for another process: for its start, which may be slow on a network drive, or for its part of a step.
TIMEOUT = timedelta(minutes=5)


def connect(device: torch.device) -> None:
    """Connect the processes that torchrun started, with NCCL on CUDA and gloo otherwise."""
    if distributed.is_torchelastic_launched():
        if device.type == "cuda":
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        distributed.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=TIMEOUT)


def rank_and_count() -> tuple[int, int]:
    """Rank of this process, and the number of processes that train together."""
    return (distributed.get_rank(), distributed.get_world_size()) if distributed.is_initialized() else (0, 1)


def from_first(value: Any) -> Any:
    """Send the value of process 0 to every process, since other nodes may lack its files or have different ones."""
    values = [value]
    if distributed.is_initialized():
        distributed.broadcast_object_list(values, device=torch.device("cpu"))
    return values[0]


def check_same(inputs: Mapping[str, str]) -> None:
    """Check that all processes have the same inputs; code, data or processor may differ between nodes.

    Raises:
        UserError: In every process, if an input differs.
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
                f"{', '.join(names)}: process {rank} of {count} has a different value than process 0, so the "
                "result would depend on which one computes what; run all processes on equal inputs and machines"
            )
