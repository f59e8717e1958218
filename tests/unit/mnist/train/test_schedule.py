from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, OneCycleLR

from src.mnist.train.schedule import learning_rates

TOTALS = [1, 2, 3, 4, 7, 100, 4220]


def rates_of(make: Callable[[torch.optim.Optimizer], LRScheduler], total: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.01)
    scheduler, rates = make(optimizer), []
    for step in range(total):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if step < total - 1:
            scheduler.step()
    return rates


@pytest.mark.parametrize("total", TOTALS)
def test_constant_is_constant(total: int) -> None:
    assert learning_rates("constant", 0.01, total).tolist() == [np.float32(0.01)] * total


@pytest.mark.parametrize("total", TOTALS)
def test_cosine_is_pytorchs(total: int) -> None:
    expected = rates_of(lambda optimizer: CosineAnnealingLR(optimizer, T_max=total), total)
    np.testing.assert_allclose(learning_rates("cosine", 0.01, total), expected, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("total", [total for total in TOTALS if total >= 4])
def test_one_cycle_is_pytorchs(total: int) -> None:
    expected = rates_of(
        lambda optimizer: OneCycleLR(optimizer, max_lr=0.01, total_steps=total, cycle_momentum=False), total
    )
    np.testing.assert_allclose(learning_rates("one-cycle", 0.01, total), expected, rtol=1e-4, atol=1e-9)


@given(st.sampled_from(["constant", "cosine", "one-cycle"]), st.floats(1e-6, 1), st.integers(1, 500))
def test_every_step_has_a_rate_up_to_the_highest(schedule: str, lr: float, total: int) -> None:
    rates = learning_rates(schedule, lr, total)
    assert rates.shape == (total,)
    assert rates.dtype == np.float32
    assert (rates > 0).all()
    assert rates.max() <= np.float32(lr)
