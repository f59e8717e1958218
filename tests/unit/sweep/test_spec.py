import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.core.errors import UserError
from src.mnist.model.params import Params, load_params
from src.sweep.spec import MAX_RUNS, Interval, make_sweep, read_sweep
from tests.conftest import REPOSITORY


def values(params: Params, spec: dict[str, Any], draws: int = 1, seed: int = 0) -> list[tuple[Any, ...]]:
    """The values that vary, in the spec's order, of every run."""
    return [tuple(getattr(run, name) for name in spec) for run in make_sweep("s", spec, draws, seed).runs(params)]


def write(folder: Path, text: str) -> Path:
    path = folder / "s.yaml"
    path.write_text(text)
    return path


def test_choices_and_ranges_are_combined(params: Params) -> None:
    spec = {"lr": "choice(0.001, 0.01)", "seed": "range(0, 2)", "epochs": 3, "schedule": "constant,cosine"}
    found = values(params, spec)
    assert len(set(found)) == len(found) == 8
    assert {lr for lr, *_ in found} == {0.001, 0.01}
    assert (0.01, 1, 3, "cosine") in found


def test_the_other_params_are_those_of_params_yaml(params: Params) -> None:
    (run,) = make_sweep("s", {"lr": 0.5}).runs(params)
    assert run == params.model_copy(update={"lr": 0.5})


def test_a_yaml_list_is_a_choice(params: Params) -> None:
    assert values(params, {"seed": [3, 5]}) == [(3,), (5,)]


def test_a_range_of_floats_has_no_rounding_errors(params: Params) -> None:
    assert values(params, {"label_smoothing": "range(0.1, 0.5, 0.1)"}) == [(0.1,), (0.2,), (0.3,), (0.4,)]


def test_what_is_asked_for_twice_runs_once(params: Params) -> None:
    assert values(params, {"weight_decay": "0,0.0,1e-3"}) == [(0.0,), (0.001,)]


def test_every_draw_meets_every_combination(params: Params) -> None:
    found = values(params, {"lr": "interval(0.001, 0.1)", "seed": "0,1"}, draws=3)
    assert len(found) == 6
    assert len({lr for lr, _ in found}) == 3


def test_draws_stay_the_same_when_others_are_added(params: Params) -> None:
    few = values(params, {"lr": "interval(0.001, 0.1)"}, draws=2)
    many = values(params, {"lr": "interval(0.001, 0.1)", "ema": "interval(0, 0.9)"}, draws=4)
    assert [(lr,) for lr, _ in many][:2] == few
    assert values(params, {"lr": "interval(0.001, 0.1)"}, draws=2, seed=1) != few


@given(low=st.floats(1e-6, 1), ratio=st.floats(1, 1000), seed=st.integers(0, 9), log=st.booleans())
def test_draws_lie_in_their_interval(low: float, ratio: float, seed: int, log: bool) -> None:
    interval = Interval(low, low * ratio, log)
    sweep = make_sweep("s", {"lr": f"interval({low!r}, {interval.high!r})"}, 5, seed)
    assert all(low <= value <= interval.high for value in sweep._draw("lr", interval))


def test_a_logarithmic_interval_is_drawn_evenly_in_the_logarithm() -> None:
    draws = make_sweep("s", {"lr": "tag(log, interval(0.0001, 1))"}, 400)._draw("lr", Interval(0.0001, 1, log=True))
    below = sum(value < 0.01 for value in draws) / 400
    # Four standard deviations of a binomial share of one half.
    assert abs(below - 0.5) < 4 * math.sqrt(0.25 / 400)


def test_whole_numbers_are_drawn_with_both_ends(params: Params) -> None:
    assert {shift for (shift,) in values(params, {"shift": "interval(1, 3)"}, draws=100)} == {1, 2, 3}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("params: {epoch: 3}", "params: epoch is not a parameter"),
        ("params: {lr: 'choice(1'}", r"params: lr: 'choice\(1' is not in the grammar"),
        ("params: {lr: 'range(0, 1, 0)'}", "params: lr: .* is not in the grammar"),
        ("params: {lr: 'glob(*)'}", "params: lr: .* is not in the grammar"),
        ("params: {lr: 'interval(1, 0)'}", "params: lr: expected an interval from a smaller to a larger number"),
        ("params: {lr: 'tag(log, interval(0, 1))'}", "both above 0 since it is logarithmic"),
        ("params: {shift: 'interval(0.5, 3)'}", "params: shift: expected an interval between whole numbers"),
        ("params: {lr: 'choice(0.1, abc)'}", "lr must be a finite number.*got 'abc'"),
        ("params: {epochs: 0}", "epochs must be a whole number from 1 to 10000, got 0"),
        ("params: {batch_size: 60000}", "a run is not possible: .*batch_size must be at most"),
        ("params: {lr: {a: 1}}", "lr must be a finite number"),
        ("params: {seed: 'range(0, 100000)'}", "expected at most 10,000 runs"),
        ("params: {seed: 'range(0, 101)', lr: 'range(1, 101)'}", "expected at most 10,000 runs, got 10,100"),
        ("draws: 3\nparams: {seed: '0,1'}", "draws is given, but no param has an interval"),
        ("draws: 0\nparams: {seed: 0}", "draws must be a whole number from 1"),
        ("draws: true\nparams: {seed: 0}", "draws must be a whole number from 1"),
        ("draw_seed: x\nparams: {seed: 0}", "draw_seed must be a whole number"),
        ("grid: {seed: 0}", r"grid is not known \(known: draws, draw_seed, params\); params must be"),
        ("params: [lr]", "params must be one `name: values` per line"),
        ("params:", "params must be one `name: values` per line"),
        ("params: {seed: 0}\nparams: {seed: 1}", "params is given more than once"),
        ("params: {seed: '0,1', lr: 0.1, seed: '2,3'}", "params: seed is given more than once"),
        ("params: {seed: []}", r"params: seed: expected at least one value, got \[\]"),
        ("params: {lr: 0.1, seed: 'range(3, 0)'}", r"params: seed: expected at least one value, got 'range\(3, 0\)'"),
        ("", "expected one `key: value` per line"),
    ],
)
def test_what_is_wrong_is_one_line_that_names_it(tmp_path: Path, params: Params, text: str, said: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(UserError, match=said) as caught:
        read_sweep(path).runs(params)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no such file"):
        read_sweep(tmp_path / "none.yaml")


def test_the_committed_sweep_can_run() -> None:
    runs = read_sweep(REPOSITORY / "sweep.yaml").runs(load_params(REPOSITORY / "params.yaml"))
    assert 1 < len(runs) <= MAX_RUNS
