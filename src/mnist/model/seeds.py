"""Seeds for the global random generators of Python, NumPy and PyTorch, from which a network may draw."""

import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import torch


def seed_generators(seed: int, generators: Iterable[torch.Generator] | None = None) -> None:
    """Seed the global generators.

    Args:
        seed: 0 to 2^64 - 1; NumPy uses the lower 32 bits.
        generators: PyTorch's generators to seed; None seeds those of all devices, which takes 0.1 ms.
    """
    random.seed(seed)
    np.random.seed(seed % 2**32)
    if generators is None:
        torch.manual_seed(seed)
    for generator in generators or ():
        generator.manual_seed(seed)


# Makes random numbers drawn at import time, such as a network's constant table, the same in every process.
seed_generators(0)


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed the generators within the context, and restore their previous state afterwards."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        seed_generators(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
