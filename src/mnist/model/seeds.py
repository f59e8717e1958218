"""What a network may draw random numbers from: the global generators of Python, NumPy and PyTorch."""

import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import torch


def seed_generators(seed: int, generators: Iterable[torch.Generator] | None = None) -> None:
    """Seed all of them.

    Args:
        seed: 0 to 2^64 - 1; NumPy takes its lower half.
        generators: PyTorch's; None: those of all devices, which takes a tenth of a millisecond.
    """
    random.seed(seed)
    np.random.seed(seed % 2**32)
    if generators is None:
        torch.manual_seed(seed)
    for generator in generators or ():
        generator.manual_seed(seed)


# What a module draws while it is imported, such as a table for a network, is the same in every process.
seed_generators(0)


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """While active, the generators draw what the seed decides; afterwards they go on as if nothing had been drawn."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        seed_generators(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
