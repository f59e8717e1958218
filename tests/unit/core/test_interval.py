import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from src.core.interval import wilson_interval


@given(st.integers(1, 20_000).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total))))
def test_interval_matches_scipy(counts: tuple[int, int]) -> None:
    expected = binomtest(*counts).proportion_ci(method="wilson")
    assert wilson_interval(*counts) == pytest.approx((expected.low, expected.high), abs=1e-12)
