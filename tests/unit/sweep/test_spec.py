from pathlib import Path

import pytest
from dvc.utils.hydra import apply_overrides
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from src.core.errors import UserError
from src.core.yaml_file import read_mapping
from src.mnist.model.params import Params
from src.sweep.spec import Space, Spec, read_spec
from src.sweep.worker import param_options
from stages.check import check_settings
from tests.conftest import REPOSITORY


def space(spec: Spec, params: Params, where: str = "s") -> Space:
    """Build the search space of a spec, checked as in a sweep, but without a process."""
    return spec.space(where, check_settings(spec.settings(params.model_dump(), where), where))


def test_grid_combines_choices_ranges_and_lists(params: Params) -> None:
    given = {"lr": "choice(0.001, 0.01)", "seed": "range(0, 2)", "epochs": 3, "schedule": "'constant','cosine'"}
    found = space(Spec(params=given), params)
    values = {tuple(setting[name] for name in given) for setting in found.grid}
    assert len(values) == len(found.grid) == 8
    assert {lr for lr, *_ in values} == {0.001, 0.01}
    assert (0.01, 1, 3, "cosine") in values
    # The other params keep the values of params.yaml.
    assert found.common == params.model_dump() | {"lr": 0.001, "seed": 0, "epochs": 3, "schedule": "constant"}
    assert set(found.drawn) == {"lr", "seed", "schedule"}


def test_values_are_unique_typed_and_free_of_rounding_errors(params: Params) -> None:
    given = {"weight_decay": "1e-3,0.0,0", "label_smoothing": "range(0.1, 0.5, 0.1)"}
    assert space(Spec(params=given), params).drawn == {
        "weight_decay": CategoricalDistribution([0.0, 0.001]),
        "label_smoothing": CategoricalDistribution([0.1, 0.2, 0.3, 0.4]),
    }
    others = {"lr": "tag(log, interval(0.001, 1))", "shift": "interval(0, 8)", "seed": [1, 2], "epochs": 3}
    found = space(Spec(sampler="tpe", trials=5, params=others), params)
    assert found.drawn == {
        "lr": FloatDistribution(0.001, 1.0, log=True),
        "shift": IntDistribution(0, 8),
        "seed": CategoricalDistribution([1, 2]),
    }
    assert (found.common["epochs"], found.grid) == (3, ())


def test_spec_recognises_its_runs_without_a_study(params: Params) -> None:
    spec = Spec(sampler="tpe", trials=5, params={"lr": "interval(0.1, 0.2)", "seed": [0, 1], "epochs": 3})
    base = params.model_dump()
    right = base | {"lr": 0.15, "seed": 1, "epochs": 3}
    assert spec.asks_for(right, base)
    for change in ({"lr": 0.3}, {"seed": 2}, {"epochs": 2}, {"shift": 5}, {"more": 1}):
        assert not spec.asks_for(right | change, base)


DRAWN = "sampler: tpe\ntrials: 2\n"


@pytest.mark.fault(78)
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("params: {epoch: 3}", "params: epoch is not a parameter"),
        ("params: {lr: 'choice(1'}", r"params: lr: expected a value in the grammar of .*, got 'choice\(1'"),
        ("params: {lr: 'range(0, 1, 0)'}", "params: lr: expected a value in the grammar"),
        ("params: {lr: 'glob(*)'}", "params: lr: expected a value in the grammar"),
        (f"{DRAWN}params: {{lr: 'interval(1, 0)'}}", "params: lr: expected .*`low <= high`"),
        (f"{DRAWN}params: {{lr: 'tag(log, interval(0, 1))'}}", "params: lr: expected .*`low > 0`"),
        (f"{DRAWN}params: {{lr: 'interval(0, inf)'}}", "lr must be .*got "),
        (f"{DRAWN}params: {{shift: 'interval(0.5, 3)'}}", "shift must be a valid integer.*got 0.5"),
        ("params: {lr: 'interval(0.1, 1)'}", "params: lr: an interval needs `sampler: tpe` or `random`, got a grid"),
        ("sampler: tpe\nparams: {lr: 'interval(0.1, 1)'}", "tpe needs `trials`, a whole number from 1 to 1000"),
        ("trials: 3\nparams: {seed: '0,1'}", "trials is for random and tpe; a grid runs every combination"),
        ("sampler: cma\nparams: {seed: 0}", "sampler: .*'grid', 'random' or 'tpe'"),
        ("params: {lr: 'choice(0.1, abc)'}", "lr must be a valid number.*got 'abc'"),
        (f"{DRAWN}params: {{seed: '0,1', batch_size: '1,70000'}}", "batch_size must be .*got 70000"),
        ("params: {batch_size: 60000}", "a run is not possible: .*batch_size must be at most"),
        ("params: {lr: {a: 1}}", "lr must be a valid number"),
        ("params: {seed: 'range(0, 100000)'}", "expected at most 1,000 trials, got at least 1,001"),
        ("params: {seed: 'range(0, 101)', lr: 'range(1, 101)'}", "expected at most 1,000 trials, got at least 10,100"),
        ("draws: 4\nparams: {seed: 0}", "draws: "),
        ("params: [lr]", "params: .* dictionary"),
        ("params: {}", "params: .* at least 1"),
        ("params: {seed: 0}\nparams: {seed: 1}", "params"),
        ("params: {seed: '0,1', lr: 0.1, seed: '2,3'}", "seed"),
        ("params: {seed: []}", r"params: seed: expected at least one value, got \[\]"),
        ("params: {lr: 0.1, seed: 'range(3, 0)'}", r"params: seed: expected at least one value, got 'range\(3, 0\)'"),
        ("params: {seed: 'choice([1], [2])'}", "params: seed: expected single values to choose from, got"),
        ("", "expected one `key: value` per line"),
    ],
)
def test_invalid_spec_is_rejected_in_one_line(tmp_path: Path, params: Params, text: str, said: str) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=said) as caught:
        space(read_spec(path), params, str(path))
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_committed_sweep_is_valid(params: Params) -> None:
    assert space(read_spec(REPOSITORY / "sweep.yaml"), params).drawn


def test_params_of_any_type_reach_dvc_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    params = {"lr": 1e-05, "clip": None, "fast": True, "sizes": [1, 2], "text": 'null, "ü" = \\', "name": "1"}
    path.write_text("".join(f"{name}:\n" for name in params))
    apply_overrides(path, param_options(params)[1::2])
    assert read_mapping(path) == params
