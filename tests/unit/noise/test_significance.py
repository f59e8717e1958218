import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, t

from src.noise.significance import mcnemar_p, split_variance, t_limit, t_p


@given(st.integers(0, 400), st.integers(0, 400))
def test_mcnemar_matches_scipy(broken: int, fixed: int) -> None:
    expected = binomtest(broken, broken + fixed, 0.5).pvalue if broken + fixed else 1.0
    assert mcnemar_p(broken, fixed) == pytest.approx(expected, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize(("broken", "fixed"), [(5000, 5000), (4900, 5100), (0, 10_000)])
def test_large_tables_do_not_overflow(broken: int, fixed: int) -> None:
    assert mcnemar_p(broken, fixed) == pytest.approx(binomtest(broken, broken + fixed, 0.5).pvalue, rel=1e-9, abs=1e-12)


@given(st.floats(-40, 40) | st.just(math.inf), st.integers(1, 60))
def test_student_t_matches_scipy(statistic: float, df: int) -> None:
    assert t_p(statistic, df) == pytest.approx(2 * t.sf(abs(statistic), df), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("df", [1, 2, 3, 4, 5, 9, 10, 30, 1000])
def test_t_limit_matches_scipy(df: int) -> None:
    assert t_limit(df) == pytest.approx(t.ppf(0.975, df), rel=1e-9)


def histogram(wrong: np.ndarray) -> list[int]:
    """Images by the number of trainings that get them wrong; `wrong` has the shape (trainings, images)."""
    return np.bincount(wrong.sum(0), minlength=len(wrong) + 1).tolist()


@given(st.integers(2, 7), st.integers(0, 2**32 - 1))
def test_variance_parts_match_their_definitions(trainings: int, seed: int) -> None:
    """The real part is the covariance of two images, averaged over all pairs."""
    wrong = np.random.default_rng(seed).random((trainings, 12)) < 0.4
    covariance = np.cov(wrong, rowvar=False)
    luck, real = split_variance(float(wrong.mean(1).var(ddof=1)), histogram(wrong))
    assert luck == pytest.approx(np.trace(covariance) / 12**2)
    assert real == pytest.approx(covariance[~np.eye(12, dtype=bool)].mean())


@pytest.mark.parametrize("true_std", [0.0, 0.02])
def test_variance_estimate_is_unbiased(true_std: float) -> None:
    """Trainings with a known spread of real accuracies, scored on a new test set each time."""
    random = np.random.default_rng(0)
    estimates = []
    for _ in range(2000):
        easiness = random.beta(8, 1, size=300)
        shift = random.normal(0, true_std, size=(5, 1))
        wrong = random.random((5, 300)) > np.clip(easiness * (1 + shift / (8 / 9)), 0, 1)
        estimates.append(split_variance(float(wrong.mean(1).var(ddof=1)), histogram(wrong))[1])
    error = float(np.std(estimates)) / math.sqrt(len(estimates))
    # Clipping at 1 slightly reduces the spread.
    assert np.mean(estimates) == pytest.approx(true_std**2, abs=4 * error + 0.1 * true_std**2)
