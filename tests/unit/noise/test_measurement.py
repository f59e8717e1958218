import json
import math

import pytest
from scipy.stats import ttest_ind

from src.core.errors import UserError
from src.noise.measurement import (
    NOISE,
    Measurement,
    SeedNoise,
    find_measurement,
    format_noise,
    parse_noise,
    seed_noise,
    updated,
)
from tests.unit.history import REPOSITORY
from tests.unit.noise.measured import FILE, measured

PARAMS = {"lr": 0.006, "epochs": 10, "seed": 0}


def of_seeds(*accuracies: float, **params: object) -> Measurement:
    return measured(accuracies, params={**PARAMS, **params})


def test_measurement_round_trips() -> None:
    measurement = of_seeds(0.99, 0.98, 0.985)
    assert measurement.metrics[FILE]["test_acc"].std == pytest.approx(0.005)
    assert measurement.metrics[FILE]["test_acc"].mean == pytest.approx(0.985)
    assert measurement.wrong_in == [980, 5, 5, 10]
    assert measurement.seeds == [0, 1, 2]
    assert parse_noise(format_noise([measurement]), "noise") == [measurement]


def test_measurement_is_found_only_for_its_data_and_recipe() -> None:
    known = [of_seeds(0.99, 0.98), of_seeds(0.97, 0.98, lr=0.1)]
    assert find_measurement(known, "abc.dir", {**PARAMS, "seed": 7}) == known[0]
    assert find_measurement(known, "abc.dir", {**PARAMS, "lr": 0.1}) == known[1]
    for data in ("other.dir", None):
        assert find_measurement(known, data, PARAMS) is None
    for params in ({**PARAMS, "lr": 0.2}, {**PARAMS, "new": 0}, {"seed": 0}):
        assert find_measurement(known, "abc.dir", params) is None


def test_new_measurement_replaces_the_old_one() -> None:
    first, other, again = of_seeds(0.99, 0.98), of_seeds(0.97, 0.98, lr=0.1), of_seeds(0.99, 0.98, 0.97)
    assert updated(updated([first], other), again) == [other, again]


def noise_of(old: Measurement, new: Measurement) -> SeedNoise:
    noise = seed_noise(old, new, FILE, "test_acc")
    assert noise is not None
    return noise


def test_noise_between_two_trainings_of_one_recipe() -> None:
    noise = noise_of(of_seeds(0.99, 0.98, 0.985), of_seeds(0.99, 0.98, 0.985))
    assert (noise.std, noise.df, noise.seeds) == (pytest.approx(math.sqrt(2) * 0.005), 2, 3)
    assert noise.p_value(noise.limit) == noise.p_value(-noise.limit) == pytest.approx(0.05)
    assert noise.limit == pytest.approx(4.302653 * noise.std)


def test_noise_of_two_recipes_has_welchs_degrees_of_freedom() -> None:
    old, new = (0.99, 0.98, 0.985, 0.988, 0.99), (0.97, 0.95, 0.96, 0.99, 0.93)
    noise = noise_of(of_seeds(*old), of_seeds(*new, lr=1.0))
    assert noise.df == math.floor(ttest_ind(old, new, equal_var=False).df)
    assert noise.seeds == 10
    equal = (0.97, 0.97, 0.97, 0.98, 0.99, 0.99, 0.99, 0.99)
    assert noise_of(of_seeds(*equal), of_seeds(*equal, lr=1.0)).df == 14, "computed as 13.999999999999998"


def test_noise_is_none_without_both_measurements_of_the_metric() -> None:
    known = of_seeds(0.99, 0.98)
    for old, new, file, name in (
        (known, None, FILE, "test_acc"),
        (None, known, FILE, "test_acc"),
        (known, known, FILE, "other"),
        (known, known, "other.json", "test_acc"),
    ):
        assert seed_noise(old, new, file, name) is None


def test_identical_seeds_explain_no_change() -> None:
    noise = noise_of(of_seeds(0.99, 0.99, 0.99), of_seeds(0.99, 0.99, 0.99))
    assert noise.p_value(0) == 1
    assert noise.p_value(0.001) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"seeds": [0]}, "seeds: List should have at least 2 items"),
        ({"metrics": {FILE: {"test_acc": {"mean": 1.0, "std": -1.0}}}}, "std: Input should be greater"),
        ({"wrong_in": [9, -4, 0]}, "wrong_in.1: Input should be greater"),
        ({"extra": 1}, "extra: Extra inputs"),
    ],
)
def test_malformed_measurement_is_rejected(change: dict[str, object], problem: str) -> None:
    content = [{**of_seeds(0.99, 0.98).model_dump(), **change}]
    with pytest.raises(UserError, match=problem) as caught:
        parse_noise(json.dumps(content), "metrics_noise.json")
    assert str(caught.value).startswith("metrics_noise.json: ")


@pytest.mark.parametrize("text", ["", "[", "{}", "[" * 5000, "[1]"])
def test_non_list_of_measurements_is_rejected(text: str) -> None:
    with pytest.raises(UserError, match="metrics_noise"):
        parse_noise(text, "metrics_noise.json")


def test_committed_measurements_are_valid() -> None:
    measurements = parse_noise((REPOSITORY / NOISE).read_text(), NOISE)
    assert {sum(found.wrong_in) for found in measurements if found.params["dataset"] == "mnist"} <= {10_000}
