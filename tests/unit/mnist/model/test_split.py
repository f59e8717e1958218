import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from src.core.errors import UserError
from src.mnist.model.split import split_indices

SEEDS = st.integers(0, 2**32 - 1)


@st.composite
def labels_and_fraction(draw: st.DrawFn) -> tuple[np.ndarray, float]:
    counts = draw(st.lists(st.integers(4, 60), min_size=1, max_size=10))
    fraction = draw(st.floats(0.05, 0.95))
    assume(all(0 < round(count * fraction) < count for count in counts))
    labels = np.repeat(np.arange(len(counts)), counts).astype(np.uint8)
    return np.random.default_rng(draw(SEEDS)).permutation(labels), fraction


@given(labels_and_fraction(), SEEDS)
def test_parts_are_disjoint_exhaustive_sorted_and_stratified(case: tuple[np.ndarray, float], seed: int) -> None:
    labels, fraction = case
    train, val = split_indices(labels, fraction, seed)
    np.testing.assert_array_equal(np.sort(np.concatenate([train, val])), np.arange(len(labels)))
    assert (np.diff(train) > 0).all()
    assert (np.diff(val) > 0).all()
    assert train.dtype == val.dtype == np.int64
    expected = np.bincount(labels) * fraction
    assert np.abs(np.bincount(labels[val], minlength=len(expected)) - expected).max() <= 0.5 + 1e-9


def test_split_depends_only_on_the_seed_and_keeps_global_random_state() -> None:
    labels = np.repeat(np.arange(10), 50)
    parts = []
    for global_seed in (1, 2):
        np.random.seed(global_seed)
        drawn = np.random.random()
        np.random.seed(global_seed)
        parts.append(split_indices(labels, 0.2, 0)[1])
        assert drawn == np.random.random()
    np.testing.assert_array_equal(parts[0], parts[1])
    assert not np.array_equal(parts[0], split_indices(labels, 0.2, 1)[1])


@pytest.mark.parametrize("fraction", [0.01, 0.99])
def test_part_without_a_class_is_rejected(fraction: float) -> None:
    with pytest.raises(UserError, match=rf"^params.yaml: val_fraction {fraction} puts \d+ of the 10 .* of class 0"):
        split_indices(np.repeat(np.arange(10), 10), fraction, 0)
