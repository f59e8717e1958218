import itertools

import pytest
import torch
from torch import Tensor

from src.mnist.train.graphs import ForwardSeeds, capture_cuda_graph

STEPS, SHARDS = 3, 2


def draws(seeds: ForwardSeeds, device: str = "cpu") -> Tensor:
    """Random numbers drawn by the passes of a call."""
    rows = []
    for step, shard in itertools.product(range(seeds.steps), range(seeds.shards)):
        seeds.start_pass(step, shard)
        rows.append(torch.nn.functional.dropout(torch.ones(1000, device=device)))
    return torch.stack(rows)


def call(seed: int = 0, first_step: int = 0, steps: int = STEPS) -> Tensor:
    seeds = ForwardSeeds(seed, steps, SHARDS, torch.device("cpu"))
    seeds.start_call(first_step)
    return draws(seeds)


def test_draws_depend_only_on_seed_step_and_shard() -> None:
    first = call(first_step=7)
    torch.manual_seed(1)
    assert torch.equal(first, torch.cat([call(first_step=7 + step, steps=1) for step in range(STEPS)]))
    rows = [*first, *call(first_step=100), *call(seed=1, first_step=7)]
    assert len({row.numpy().tobytes() for row in rows}) == len(rows) == 3 * STEPS * SHARDS


@pytest.mark.gpu
def test_graph_replays_draw_the_same_numbers_as_plain_passes() -> None:
    plain, recorded = (ForwardSeeds(0, STEPS, SHARDS, torch.device("cuda:0")) for _ in range(2))
    recorded.start_call(0)
    replay, output = capture_cuda_graph(lambda: draws(recorded, "cuda"), recorded)
    for first_step in (0, 7, 100):
        for seeds in (plain, recorded):
            seeds.start_call(first_step)
        replay()
        torch.cuda.synchronize()
        assert torch.equal(output, draws(plain, "cuda"))
