import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, t

from src.noise.significance import mcnemar_p, t_limit, t_p


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
