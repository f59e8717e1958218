"""Reasons to doubt an answer: the picture looks like several digits, or has too many strokes."""

import numpy as np

# Thresholds from MNIST's validation images; fewer than 1 in 100 exceed either (`python -m benchmarks.pictures`).
# Maximum effective number of digits.
DIGITS = 2.75
# Maximum mean number of strokes that a row, and that a column, crosses, by digit.
CROSSINGS = (
    (2.3, 2.15),
    (1.35, 1.65),
    (1.85, 2.45),
    (1.75, 3.0),
    (1.9, 1.9),
    (1.65, 2.65),
    (2.2, 2.5),
    (1.7, 2.05),
    (2.1, 2.95),
    (1.9, 2.4),
)


def effective_number(probs: np.ndarray) -> float:
    """Number of digits that a picture looks like, from 1 to 10: the exponential of Renyi's entropy of order 1/2 (1961).

    A sloppy digit looks like one other digit. A picture without a digit looks a little like many, which this order
    detects best.
    """
    return float(np.sqrt(probs).sum() ** 2)


def doubt(probs: np.ndarray, crossings: tuple[float, float]) -> str | None:
    """Return why the answer may be wrong, or None.

    Args:
        probs: Calibrated probability of each digit, shape (10,).
        crossings: Mean number of strokes that a row, and that a column, of the picture's digit crosses.
    """
    best, second, third = probs.argsort()[:-4:-1]
    if effective_number(probs) > DIGITS:
        return f"may be {best}, {second}, {third} or no digit"
    if any(found > most for found, most in zip(crossings, CROSSINGS[best], strict=True)):
        return f"has too many strokes for the digit {best}"
    return None
