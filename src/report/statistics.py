"""Whether the difference between two models on one test set is more than chance."""

SIGNIFICANCE = 0.05


def mcnemar_p(broken: int, fixed: int) -> float:
    """Exact two-sided p-value of McNemar's test (Q. McNemar, Psychometrika 12, 1947), in [0, 1].

    If neither model were better, each digit that only one of them gets right would be a fair coin's toss. The sum runs
    over whole numbers, so that it is exact up to its one division.

    Args:
        broken: Digits that only the old model gets right, at least 0.
        fixed: Digits that only the new model gets right, at least 0.
    """
    tosses, fewer = broken + fixed, min(broken, fixed)
    ways = term = 1  # term: the number of ways to choose `heads` of the tosses
    for heads in range(1, fewer + 1):
        term = term * (tosses - heads + 1) // heads
        ways += term
    # Both tails are the same by symmetry; where they meet in the middle, they count it twice.
    return min(1.0, 2 * ways / 2**tosses)
