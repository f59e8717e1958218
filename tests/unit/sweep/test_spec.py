from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from src.core.errors import UserError
from src.mnist.model.params import Params
from src.sweep import spec as spec_module
from src.sweep.spec import Space, Spec, check_settings, make_spec, read_spec
from stages.check import check_settings as ask_the_stage
from tests.conftest import REPOSITORY


def space(spec: Spec, params: Params) -> Space:
    """What the trials of a spec may have, checked as the sweep does it, without a process."""
    return spec.space(ask_the_stage(spec.settings(params.model_dump()), spec.where))


def values(params: Params, given: dict[str, Any]) -> list[tuple[Any, ...]]:
    """The values of the params that a grid names, for every trial."""
    found = space(make_spec("s", given), params)
    return [tuple(setting[name] for name in given) for setting in found.grid]


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
    found = space(make_spec("s", {"lr": 0.5}), params)
    assert found.common == params.model_dump() | {"lr": 0.5}
    assert not found.drawn


def test_a_yaml_list_is_a_choice(params: Params) -> None:
    assert values(params, {"seed": [3, 5]}) == [(3,), (5,)]


def test_a_range_of_floats_has_no_rounding_errors(params: Params) -> None:
    assert values(params, {"label_smoothing": "range(0.1, 0.5, 0.1)"}) == [(0.1,), (0.2,), (0.3,), (0.4,)]


def test_what_is_given_twice_is_one_choice(params: Params) -> None:
    found = space(make_spec("s", {"weight_decay": "0,0.0,1e-3"}), params)
    assert found.drawn == {"weight_decay": CategoricalDistribution([0.0, 0.001])}


def test_params_are_drawn_as_the_schema_has_them(params: Params) -> None:
    given = {"lr": "tag(log, interval(0.001, 1))", "shift": "interval(0, 8)", "seed": [1, 2], "epochs": 3}
    found = space(make_spec("s", given, "tpe", 5), params)
    assert found.drawn == {
        "lr": FloatDistribution(0.001, 1.0, log=True),
        "shift": IntDistribution(0, 8),
        "seed": CategoricalDistribution([1, 2]),
    }
    assert (found.common["epochs"], found.grid) == (3, ())


def test_many_choices_are_checked_one_by_one(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spec_module, "MAX_SETTINGS", 5)
    given = {"seed": [0, 1], "epochs": [1, 2], "batch_size": "1,2,70000"}
    with pytest.raises(UserError, match=r"s: batch_size must be .* got 70000"):
        space(make_spec("s", given, "random", 5), params)
    assert len(make_spec("s", given, "random", 5).settings(params.model_dump())) == 2 + 2 + 3
    given["batch_size"] = "1,2"
    drawn = space(make_spec("s", given, "random", 5), params).drawn
    assert drawn["batch_size"] == CategoricalDistribution([1, 2])


def test_what_a_spec_asks_for_is_known_without_a_study(params: Params) -> None:
    spec = make_spec("s", {"lr": "interval(0.1, 0.2)", "seed": [0, 1], "epochs": 3}, "tpe", 5)
    base = params.model_dump()
    right = base | {"lr": 0.15, "seed": 1, "epochs": 3}
    assert spec.asks_for(right, base)
    for change in ({"lr": 0.3}, {"seed": 2}, {"epochs": 2}, {"shift": 5}, {"more": 1}):
        assert not spec.asks_for(right | change, base)


@pytest.mark.fault(78)
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("params: {epoch: 3}", "params: epoch is not a parameter"),
        ("params: {lr: 'choice(1'}", r"params: lr: 'choice\(1' is not in the grammar"),
        ("params: {lr: 'range(0, 1, 0)'}", "params: lr: .* is not in the grammar"),
        ("params: {lr: 'glob(*)'}", "params: lr: .* is not in the grammar"),
        (
            "sampler: tpe\ntrials: 2\nparams: {lr: 'interval(1, 0)'}",
            "params: lr: expected an interval from a smaller to",
        ),
        ("params: {lr: 'tag(log, interval(0, 1))'}", "both above 0 since it is logarithmic"),
        ("sampler: random\ntrials: 2\nparams: {shift: 'interval(0.5, 3)'}", "shift must be a whole number.*got 0.5"),
        ("params: {lr: 'interval(0.1, 1)'}", "params: lr: an interval needs `sampler: tpe` or `random`, got a grid"),
        ("sampler: tpe\nparams: {lr: 'interval(0.1, 1)'}", "trials must be a whole number from 1 to 1000, got None"),
        ("trials: 3\nparams: {seed: '0,1'}", "trials is for random and tpe; a grid runs every combination"),
        ("sampler: cma\nparams: {seed: 0}", "sampler must be grid or random or tpe, got 'cma'"),
        ("pruner: asha\nparams: {seed: 0}", "pruner must be none or median, got 'asha'"),
        ("params: {lr: 'choice(0.1, abc)'}", "lr must be a finite number.*got 'abc'"),
        ("params: {epochs: 0}", "epochs must be a whole number from 1 to 10000, got 0"),
        ("params: {batch_size: 60000}", "a run is not possible: .*batch_size must be at most"),
        ("params: {lr: {a: 1}}", "lr must be a finite number"),
        ("params: {seed: 'range(0, 100000)'}", "expected at most 1,000 trials, got 1,001"),
        ("params: {seed: 'range(0, 101)', lr: 'range(1, 101)'}", "expected at most 1,000 trials, got 10,100"),
        ("draws: 4\nparams: {seed: 0}", r"draws is not known \(known: sampler, trials, pruner, params\)"),
        ("grid: {seed: 0}", "grid is not known .*; params must be"),
        ("params: [lr]", "params must be one `name: values` per line"),
        ("params:", "params must be one `name: values` per line"),
        ("params: {seed: 0}\nparams: {seed: 1}", "params is given more than once"),
        ("params: {seed: '0,1', lr: 0.1, seed: '2,3'}", ": seed is given more than once"),
        ("params: {seed: []}", r"params: seed: expected at least one value, got \[\]"),
        ("params: {lr: 0.1, seed: 'range(3, 0)'}", r"params: seed: expected at least one value, got 'range\(3, 0\)'"),
        ("", "expected one `key: value` per line"),
    ],
)
def test_what_is_wrong_is_one_line_that_names_it(tmp_path: Path, params: Params, text: str, said: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(UserError, match=said) as caught:
        space(read_spec(path), params)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no such file"):
        read_spec(tmp_path / "none.yaml")


def test_the_committed_sweep_can_run(params: Params) -> None:
    spec = read_spec(REPOSITORY / "sweep.yaml")
    checked = check_settings(REPOSITORY, spec.settings(params.model_dump()), spec.where)
    assert spec.space(checked).drawn
