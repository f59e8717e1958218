import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from sklearn.metrics import log_loss
from torch import Tensor

from src.core.errors import UserError
from src.mnist.train.calibration import HIGHEST, LOWEST, fit_temperature


def drawn(seed: int, temperature: float) -> tuple[Tensor, Tensor]:
    """Logits whose labels are drawn from `softmax(logits / temperature)`."""
    generator = torch.Generator().manual_seed(seed)
    logits = 4 * temperature * torch.randn(400, 10, dtype=torch.float64, generator=generator)
    return logits, (logits / temperature).softmax(1).multinomial(1, generator=generator).squeeze(1)


@given(st.integers(0, 1000), st.floats(0.2, 5))
@settings(max_examples=5)
def test_fitted_temperature_minimises_the_loss(seed: int, temperature: float) -> None:
    logits, labels = drawn(seed, temperature)
    # The extra image with a uniform label: one copy for each class and image, with weight 1 / (10 · N).
    further = np.concatenate([np.ones(400), np.full(4000, 1 / 4000)])
    both = torch.cat([logits, logits.repeat(10, 1)]), torch.cat([labels, torch.arange(10).repeat_interleave(400)])

    def objective(log_temperature: float) -> float:
        probs = (both[0] / np.exp(log_temperature)).softmax(1)
        return log_loss(both[1], probs, sample_weight=further, labels=range(10))

    expected = np.exp(minimize_scalar(objective, bounds=np.log([LOWEST, HIGHEST]), method="bounded").x)
    found = fit_temperature(logits, labels)
    assert found == pytest.approx(expected, rel=1e-3)
    # Softmax is invariant to a constant added to a row.
    shifted = logits + 100 * torch.arange(len(logits))[:, None]
    assert fit_temperature(shifted, labels) == pytest.approx(found, rel=1e-9)


def test_error_probability_of_a_perfect_network_depends_on_the_number_of_images() -> None:
    labels = torch.arange(1000) % 10
    logits = 5.0 * torch.nn.functional.one_hot(labels, 10).double()
    probs = (logits / fit_temperature(logits, labels)).softmax(1)
    assert 1 - probs[0].max().item() == pytest.approx(0.9 / 1001, rel=1e-6)


@pytest.mark.parametrize(
    ("scale", "turn", "temperature"),
    [(1, 1, HIGHEST), (0.001, 0, LOWEST), (0, 0, 1)],
    ids=["untrained network", "tiny logits", "logits independent of the class"],
)
def test_temperature_stays_within_its_limits(scale: float, turn: int, temperature: float) -> None:
    logits, labels = drawn(6, 1.0)
    assert fit_temperature(3 + scale * logits, (labels + turn) % 10) == pytest.approx(temperature)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_non_finite_logits_are_rejected(value: float) -> None:
    with pytest.raises(UserError, match=r"validation logits are not finite; lower lr in params.yaml"):
        fit_temperature(torch.tensor([[value] + [0.0] * 9]), torch.tensor([0]))
