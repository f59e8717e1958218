"""Temperature scaling (Guo et al., On calibration of modern neural networks, ICML 2017, section 4.2)."""

from torch import Tensor

from src.core.errors import UserError

# The temperature stays within these limits, even for a network that learned nothing.
LOWEST, HIGHEST = 0.05, 20.0
# Each halves the interval in which the inverse temperature lies: beyond this many, float64 has no number in between.
BISECTIONS = 60


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature under which `softmax(logits / temperature)` has the lowest cross-entropy.

    The cross-entropy is convex in 1 / temperature, so bisection on the sign of its slope finds the one minimum. Where
    every image is classified correctly, there would be none: lower would always be better. So one further image is
    counted whose label is uniformly distributed (Laplace's rule of succession, as in Platt, 1999).

    Args:
        logits: Of images that the network was not trained on, shape (N, C).
        labels: Their classes, int64 of shape (N,).

    Returns:
        A number from 0.05 to 20; 1 where the logits do not depend on the class.

    Raises:
        UserError: If a logit is not finite.
    """
    if not logits.isfinite().all():
        raise UserError("the network's validation logits are not finite; lower lr in params.yaml and run again")
    # Softmax does not depend on a row's mean, so the further image contributes nothing to the observed sum.
    logits = logits.double() - logits.double().mean(1, keepdim=True)
    if not logits.any():
        return 1.0
    observed = logits.gather(1, labels[:, None]).sum()

    def slope(inverse: float) -> float:
        expected = ((logits * inverse).softmax(1) * logits).sum(1)
        return float(expected.sum() + expected.mean() - observed)

    low, high = 1 / HIGHEST, 1 / LOWEST
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return 1 / high
