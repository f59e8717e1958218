import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from scipy.stats import t

from src.core.errors import UserError
from src.mnist.model.params import Params
from src.noise.measurement import NOISE, find_measurement, parse_noise
from src.report.policy import Examples, Policy
from src.revision.pipeline import output_md5
from src.sweep import seeds
from src.sweep.experiments import EVAL, Result, read_base, read_result, references
from tests.faults.project import Project, called, refusal
from tests.unit.sweep.conftest import forge, inside, made_up, working_tree

TABLES = Examples(wrong="plots/errors.csv", classes="plots/per_class.csv")
POLICY = Policy(metrics={}, data="data/MNIST", examples=TABLES)
WRONG = [[0, 1], [1, 2], [1]]


def run(result: Result, data: str) -> dict[str, Any]:
    """A run on ten images."""
    seed = result.params["seed"]
    return {"data": data, "images": 10, "seed": seed, "wrong": WRONG[seed], "metrics": {EVAL: result.test}}


def test_measurement_summarises_its_runs(tmp_path: Path, params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seeds, "read_run", lambda *given: run(given[2], "abc.dir"))
    results = [
        made_up(params, 0.9, test_acc=1 - len(wrong) / 10, seed=seed, device="cuda" if seed else "cpu")
        for seed, wrong in enumerate(WRONG)
    ]
    found = seeds.measure(tmp_path, POLICY, params.model_dump(), results)
    assert (found.data, found.seeds, found.wrong_in) == ("abc.dir", [0, 1, 2], [7, 2, 0, 1])
    assert found.metrics["metrics/eval.json"]["test_acc"].mean == pytest.approx(0.8333333)
    assert found.machine.count("torch 2.15.0") == 2  # Two devices.
    assert [seeds.record(tmp_path / NOISE, found) for _ in range(2)] == [None, found]
    (known,) = parse_noise((tmp_path / NOISE).read_text(), NOISE)
    assert find_measurement([known], "abc.dir", params.model_dump()) == known
    output = io.StringIO()
    seeds.show(found, found, Console(file=output, width=200))
    assert "3 seeds of params.yaml" in output.getvalue()
    assert "metrics_noise.json instead of a measurement with 3 seeds; commit it" in output.getvalue()
    low, high = t.interval(0.95, 2, 0.8333333, 0.05773503 / 3**0.5)
    assert f"{low:.5f} to {high:.5f}" in output.getvalue()


def test_runs_on_different_data_are_rejected(tmp_path: Path, params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seeds, "read_run", lambda *given: run(given[2], given[2].name))
    results = [made_up(params, 0.9, seed=seed) for seed in (0, 1)]
    with pytest.raises(UserError, match="data/MNIST: expected the same in all runs, got 2 versions"):
        seeds.measure(tmp_path, POLICY, params.model_dump(), results)


def test_single_seed_is_rejected(swept: Project) -> None:
    with inside(swept):
        assert refusal(called(seeds.main, ["1"])) == "seeds: expected at least 2 seeds, got 1\n"


def test_policy_must_name_the_data(in_copy: Project) -> None:
    in_copy.edit("metrics_policy.yaml", "data: data/MNIST\n", "")
    in_copy.commit()
    said = refusal(called(seeds.main, ["2"]))
    assert said.startswith("seeds: metrics_policy.yaml: expected `data`, and `wrong` and `classes`")


def test_file_is_written_from_experiments(in_copy: Project) -> None:
    before = working_tree(in_copy)
    done = called(seeds.main, ["2"])
    assert (done.returncode, done.stdout.count("known already")) == (0, 2)
    assert "Written to metrics_noise.json; commit it" in done.stdout
    noise = (in_copy.path / NOISE).read_text()
    (measured,) = parse_noise(noise, NOISE)
    assert measured.seeds == [0, 1]
    assert measured.data == output_md5(in_copy.outs(), "data/MNIST")
    assert measured.wrong_in == [9, 0, 1]
    (in_copy.path / NOISE).unlink()
    assert working_tree(in_copy) == before
    # The limits of an interval are not measured.
    base = read_base()
    known = read_result(base, next(iter(references(in_copy.path).values())))
    assert known
    tables = TABLES.model_copy(update={"metrics": {EVAL: {"test_acc": "accuracy_low"}}})
    assert seeds.read_run(in_copy.path, POLICY.model_copy(update={"examples": tables}), known)["metrics"] == {EVAL: {}}
    # One of its mistakes is not among the ten test images.
    result = read_result(base, forge(in_copy, "plots/errors.csv", "\n1,", "\n10,"))
    assert result
    with pytest.raises(UserError, match=r"plots/errors.csv of run-\w+: expected test images below 10, got 10"):
        seeds.read_run(in_copy.path, POLICY, result)
    misnamed = POLICY.model_copy(update={"data": "data/MNSIT"})
    with pytest.raises(UserError, match=r"data/MNSIT of run-\w+: is no output, nor tracked by DVC; correct `data` in"):
        seeds.read_run(in_copy.path, misnamed, result)
