"""Temperature scaling (Guo et al., On calibration of modern neural networks, ICML 2017, section 4.2)."""

from torch import Tensor

from src.core.errors import UserError

# Limits of the temperature, which bound it even for a network that learned nothing.
LOWEST, HIGHEST = 0.05, 20.0
# Each halves the interval of the inverse temperature; after this many, float64 cannot divide it any further.
BISECTIONS = 60


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """Fit the temperature that minimises the cross-entropy of `softmax(logits / temperature)`.

    The cross-entropy is convex in 1 / temperature, so bisection on the sign of its slope finds the minimum. If every
    image is classified correctly, there is no minimum: a lower temperature is always better. The sum therefore includes
    one extra image with a uniformly distributed label (Laplace's rule of succession, as in Platt, 1999).

    Args:
        logits: Logits of images that the network was not trained on, shape (N, C).
        labels: Classes of these images, int64 of shape (N,).

    Returns:
        A temperature from 0.05 to 20; 1 if the logits do not depend on the class.

    Raises:
        UserError: If a logit is not finite.
    """
    if not logits.isfinite().all():
        raise UserError("the network's validation logits are not finite; lower lr in params.yaml and run again")
    # Softmax is invariant to a row's mean. Once it is subtracted, the extra image adds nothing to the observed sum.
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
