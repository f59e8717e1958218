from hypothesis import given
from hypothesis import strategies as st

from src.report.document import Curve
from src.report.mermaid import MAX_POINTS, xychart


def lines(chart: str, word: str) -> list[list[float]]:
    found = [line.split("[")[1].rstrip("]") for line in chart.splitlines() if line.strip().startswith(word)]
    return [[float(value) for value in values.split(", ")] for values in found]


def test_both_revisions_over_common_epochs() -> None:
    base = Curve("base", "validation", [(1, 0.5), (2, 0.25)])
    head = Curve("head", "validation", [(1, 0.4), (2, 0.2), (3, 0.1)])
    chart = xychart("Loss", [base, head])
    assert lines(chart, "x-axis") == [[1, 2, 3]]
    assert lines(chart, "line") == [[0.5, 0.25], [0.4, 0.2, 0.1]]
    assert "y-axis 0.08000 --> 0.52000" in chart
    assert '"plotColorPalette": "#8c8c8c, #d95f02"' in chart


def test_a_lone_head_keeps_its_colour() -> None:
    chart = xychart("Loss", [Curve("base", "validation", []), Curve("head", "validation", [(1, 1.0)])])
    assert '"plotColorPalette": "#d95f02"' in chart


def test_long_trainings_are_thinned_from_the_first_epoch_to_the_last() -> None:
    chart = xychart("Loss", [Curve("head", "validation", [(epoch, 1 / epoch) for epoch in range(1, 1001)])])
    (epochs,) = lines(chart, "x-axis")
    assert len(epochs) == MAX_POINTS
    assert (epochs[0], epochs[-1]) == (1, 1000)


def test_a_gap_repeats_what_was_before_it() -> None:
    full = Curve("base", "validation", [(1, 3.0), (2, 2.0), (3, 1.0)])
    gap = Curve("head", "validation", [(1, 3.0), (3, 1.0)])
    assert lines(xychart("Loss", [full, gap]), "line")[1] == [3, 3, 1]


@given(
    st.dictionaries(st.integers(1, 300), st.floats(-1e8, 1e8), min_size=1),
    st.dictionaries(st.integers(1, 300), st.floats(-1e8, 1e8)),
)
def test_every_chart_has_finite_numbers_within_its_axis(base: dict[int, float], head: dict[int, float]) -> None:
    curves = [Curve(name, "validation", sorted(points.items())) for name, points in (("base", base), ("head", head))]
    chart = xychart("Loss", curves)
    low, high = (float(value) for value in chart.split("y-axis ")[1].split("\n")[0].split(" --> "))
    assert low < high
    for values in lines(chart, "line"):
        assert all(low <= value <= high for value in values)
        assert len(values) <= len(lines(chart, "x-axis")[0])
