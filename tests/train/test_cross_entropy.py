from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

LOGITS = 5 * torch.randn(32, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(32) % 10
ONE_HOT = F.one_hot(LABELS, 10).double()
SOFT = torch.rand(32, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).softmax(1)
REDUCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda losses: losses,
    "mean": Tensor.mean,
    "sum": Tensor.sum,
}
EACH = pytest.mark.parametrize("reduction", REDUCTIONS)


def formula(target: Tensor, reduction: str) -> Tensor:
    log_softmax = LOGITS - LOGITS.exp().sum(1, keepdim=True).log()
    return REDUCTIONS[reduction](-(target * log_softmax).sum(1))


def smoothed(share: float) -> Tensor:
    return (1 - share) * ONE_HOT + share / 10


@EACH
def test_hard_targets(reduction: str) -> None:
    torch.testing.assert_close(F.cross_entropy(LOGITS, LABELS, reduction=reduction), formula(ONE_HOT, reduction))


@EACH
@pytest.mark.parametrize("target", [ONE_HOT, SOFT, smoothed(0.1)], ids=["one-hot", "any", "smoothed"])
def test_soft_targets(reduction: str, target: Tensor) -> None:
    torch.testing.assert_close(F.cross_entropy(LOGITS, target, reduction=reduction), formula(target, reduction))


@EACH
@pytest.mark.parametrize("share", [0.0, 0.1, 0.9])
def test_label_smoothing(reduction: str, share: float) -> None:
    expected = formula(smoothed(share), reduction)
    of_hard = F.cross_entropy(LOGITS, LABELS, reduction=reduction, label_smoothing=share)
    of_soft = F.cross_entropy(LOGITS, ONE_HOT, reduction=reduction, label_smoothing=share)
    torch.testing.assert_close(of_hard, expected)
    torch.testing.assert_close(of_soft, expected)


@EACH
def test_certain_logits_stay_finite(reduction: str) -> None:
    assert F.cross_entropy(1e4 * ONE_HOT, LABELS, reduction=reduction).abs().max() == 0
    assert F.cross_entropy(-1e4 * ONE_HOT, LABELS, reduction=reduction).isfinite().all()
