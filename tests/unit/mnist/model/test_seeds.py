import importlib
import random

import numpy as np
import torch

from src.mnist.model import seeds


def test_random_numbers_drawn_at_import_are_deterministic() -> None:
    draws = []
    for seed in range(2):
        seeds.seed_generators(seed)
        importlib.reload(seeds)
        draws.append((random.random(), np.random.random(), torch.rand(1)))
    assert draws[0] == draws[1]
