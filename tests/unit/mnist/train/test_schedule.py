from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LRScheduler, OneCycleLR

from src.mnist.train.schedule import learning_rates

MAKERS: dict[str, Callable[[torch.optim.Optimizer, int], LRScheduler]] = {
    "constant": lambda optimizer, _: ConstantLR(optimizer, factor=1),
    "cosine": lambda optimizer, total: CosineAnnealingLR(optimizer, T_max=total),
    "one-cycle": lambda optimizer, total: OneCycleLR(optimizer, 0.01, total_steps=total, cycle_momentum=False),
}


# With fewer than four steps, PyTorch's one-cycle divides by zero.
CASES = [(name, total) for name in MAKERS for total in (4, 7, 100)]
CASES += [("cosine", 1), ("cosine", 3), ("constant", 1)]


@pytest.mark.parametrize(("schedule", "total"), CASES)
def test_schedule_matches_pytorch(schedule: str, total: int) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.01)
    scheduler, expected = MAKERS[schedule](optimizer, total), []
    for step in range(total):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if step < total - 1:
            scheduler.step()
    np.testing.assert_allclose(learning_rates(schedule, 0.01, total), expected, rtol=1e-4, atol=1e-9)


@given(st.sampled_from(sorted(MAKERS)), st.floats(1e-6, 1), st.integers(1, 500))
def test_rates_are_positive_and_at_most_lr(schedule: str, lr: float, total: int) -> None:
    rates = learning_rates(schedule, lr, total)
    assert rates.shape == (total,)
    assert rates.dtype == np.float32
    assert (rates > 0).all()
    assert rates.max() <= np.float32(lr)
