import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from src.report.statistics import mcnemar_p


@given(st.integers(0, 400), st.integers(0, 400))
def test_it_is_what_scipy_gives(broken: int, fixed: int) -> None:
    expected = binomtest(broken, broken + fixed, 0.5).pvalue if broken + fixed else 1.0
    assert mcnemar_p(broken, fixed) == pytest.approx(expected, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize(("broken", "fixed"), [(5000, 5000), (4900, 5100), (0, 10_000)])
def test_it_stands_large_tables(broken: int, fixed: int) -> None:
    assert mcnemar_p(broken, fixed) == pytest.approx(binomtest(broken, broken + fixed, 0.5).pvalue, rel=1e-9, abs=1e-12)


def test_known_values() -> None:
    assert mcnemar_p(0, 0) == 1
    assert mcnemar_p(7, 7) == 1
    assert mcnemar_p(0, 5) == 2 / 32
    assert mcnemar_p(1, 5) == 2 * (1 + 6) / 64
    assert mcnemar_p(5, 1) == mcnemar_p(1, 5)
