"""Whether the difference between two models is larger than chance or another seed can explain."""

import math
from collections.abc import Sequence

SIGNIFICANCE = 0.05


def mcnemar_p(broken: int, fixed: int) -> float:
    """Exact two-sided p-value of McNemar's test (Q. McNemar, Psychometrika 12, 1947), in [0, 1].

    If neither model were better, each digit that only one of them gets right would be a fair coin toss. The sum is over
    integers, so it is exact except for one division.

    Args:
        broken: Digits that only the old model gets right, at least 0.
        fixed: Digits that only the new model gets right, at least 0.
    """
    tosses, fewer = broken + fixed, min(broken, fixed)
    ways = term = 1  # `term` is the number of ways to choose `heads` of the tosses.
    for heads in range(1, fewer + 1):
        term = term * (tosses - heads + 1) // heads
        ways += term
    # Both tails are equal by symmetry. If they overlap, the middle is counted twice.
    return min(1.0, 2 * ways / 2**tosses)


def t_p(t: float, df: int) -> float:
    """Two-sided p-value of Student's t, in [0, 1], by the finite series for integer degrees of freedom.

    Formulas 26.7.3 and 26.7.4 of M. Abramowitz and I. Stegun, Handbook of Mathematical Functions, 1964.

    Args:
        t: The statistic, of either sign; may be infinite.
        df: Degrees of freedom, at least 1.
    """
    angle = math.atan(abs(t) / math.sqrt(df))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = df % 2
    # The last term of the series has cosine ** (df - 2); each term is computed from the previous one.
    term, total = (cosine, 0.0) if odd else (1.0, 0.0)
    for power in range(odd, df - 1, 2):
        total += term
        term *= cosine * cosine * (power + 1) / (power + 2)
    inside = (angle + sine * total) * 2 / math.pi if odd else sine * total
    return max(0.0, 1 - inside)


def t_limit(df: int) -> float:
    """The value that |t| exceeds with probability SIGNIFICANCE: the 97.5% quantile of t, to about twelve digits."""
    low, high = 0.0, 1.0
    while t_p(high, df) > SIGNIFICANCE:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if t_p(middle, df) > SIGNIFICANCE else (low, middle)
    return (low + high) / 2


def split_variance(variance: float, wrong_in: Sequence[int]) -> tuple[float, float]:
    """Split the variance of the accuracy between trainings into luck with this test set and real differences.

    Each image that some trainings get right and others wrong adds to the luck as if it were drawn anew each time. The
    rest is how much trainings differ on unlimited test images. Both estimates are unbiased if the test images are an
    independent sample (K. Jordan, On the Variance of Neural Network Training with respect to Test Sets and
    Distributions, arXiv 2304.01910, the estimator of distribution-wise variance): the expected variance on a sample of
    n images is that of one image's outcome divided by n, plus (n - 1) / n times the variance on the distribution.

    Args:
        variance: Sample variance of the accuracy over the trainings.
        wrong_in: wrong_in[k] is the number of images that exactly k of the trainings get wrong; at least 3 values.

    Returns:
        (luck, real); `real` may be negative, since it estimates a value near 0.
    """
    trainings, images = len(wrong_in) - 1, sum(wrong_in)
    outcomes = sum(
        count * wrong * (trainings - wrong) / (trainings * (trainings - 1)) for wrong, count in enumerate(wrong_in)
    )
    luck = outcomes / images**2
    return luck, (variance - luck) * images / (images - 1)
