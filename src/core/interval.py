"""Confidence interval for a proportion."""

import math

Z_95 = 1.959963984540054  # 97.5% quantile of the normal distribution.


def wilson_interval(right: int, total: int) -> tuple[float, float]:
    """Wilson score interval of 95% for a proportion (E. B. Wilson, JASA 22, 1927).

    Args:
        right: Successes, 0 to total.
        total: Trials, at least 1.

    Returns:
        (low, high), both in [0, 1].
    """
    share, z = right / total, Z_95
    centre = share + z * z / (2 * total)
    half = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)
