"""`make reproduce` tells the same from another result, and says what may be the reason."""

import hashlib
from dataclasses import replace
from typing import Any

import pytest

from src.audit.reproduce import Results, compare_metrics, differences, read_results
from src.core.errors import UserError
from tests.faults.project import Project

MACHINE = {"device": "cpu", "threads": 2, "cpu": "x86_64", "kernels": {}, "versions": {"torch": "2"}}
METRICS = "metrics/eval.json"
COMMITTED = Results({METRICS: "0"}, frozenset(), MACHINE, {METRICS: {"test_acc": 0.99}})
RULE = "{better: higher, tolerated: 0.001, gates: true%s}"
POLICY = f"metrics: {{{METRICS}: {{test_acc: {RULE}}}}}"


def on(**machine: Any) -> Results:
    return replace(COMMITTED, machine={**MACHINE, **machine})


def test_the_same_machine_has_no_differences() -> None:
    assert list(differences(COMMITTED, COMMITTED, "numpy\n")) == []


@pytest.mark.parametrize("key", MACHINE)
def test_each_difference_of_machines_is_named(key: str) -> None:
    lines = list(differences(COMMITTED, on(**{key: "other"}), ""))
    assert lines == [f"{key}: {MACHINE[key]} before, other now"]


def test_other_versions_than_required_are_named() -> None:
    requirements = "# pinned\npytest==0.1\nno-such-package==1\n-c constraints.txt\n"
    assert list(differences(COMMITTED, COMMITTED, requirements)) == [
        f"pytest is {pytest.__version__} here, requirements.txt has 0.1",
        "no-such-package is not installed here, requirements.txt has 1",
    ]


def test_results_of_an_unknown_machine_are_said_to_be_so() -> None:
    (line,) = differences(replace(COMMITTED, machine={}), COMMITTED, "")
    assert "is not on record: metrics/trained_on.json is missing or of another model" in line


def test_a_record_of_another_model_is_none(project: Project) -> None:
    assert read_results(project.path).machine["threads"] == 2
    lock = project.path / "dvc.lock"
    lock.write_text(lock.read_text().replace(project.outs()["models/model.safetensors"], 32 * "f"))
    (project.path / "models/model.safetensors").unlink()
    assert read_results(project.path).machine == {}


def test_committed_metrics_that_were_edited_are_refused(project: Project) -> None:
    metrics = project.path / METRICS
    metrics.write_text(metrics.read_text().replace('"test_loss": 0.', '"test_loss": 0.0'))
    with pytest.raises(UserError, match=f"^{METRICS}: was committed with other content than dvc.lock has"):
        read_results(project.path)


# Twice the spread of a difference: 2 * sqrt(2) * 0.001 = 0.0028.
@pytest.mark.parametrize(("now", "within"), [(0.9927, True), (0.9929, False), (0.9873, True), (0.9871, False)])
def test_a_metric_is_compared_within_the_seed_noise(now: float, within: bool) -> None:
    again = replace(COMMITTED, metrics={METRICS: {"test_acc": now}})
    ((words, found),) = compare_metrics(COMMITTED, again, POLICY % ", noise: {std: 0.001, seeds: 5}")
    assert found == within
    assert f"test_acc: 0.99 before, {now} now; {'within' if within else 'more than'} what another seed" in words


def test_a_metric_whose_seed_noise_nobody_measured_is_not_compared() -> None:
    assert not list(compare_metrics(COMMITTED, COMMITTED, POLICY % ""))


@pytest.mark.slow
def test_a_clone_with_an_empty_cache_gives_the_same_bytes(project: Project) -> None:
    project.commit()
    done = project.run("python", "-m", "src.audit.reproduce")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"All {len(project.outs())} outputs are byte-identical." in done.stdout
    assert "differs" not in done.stdout


def tamper(project: Project) -> None:
    """Commit better test metrics than the pipeline gives, with their hash."""
    lock, metrics = project.path / "dvc.lock", project.path / METRICS
    before = project.outs()[METRICS]
    metrics.write_text(metrics.read_text().replace('"test_loss": 0.', '"test_loss": 0.0'))
    lock.write_text(lock.read_text().replace(before, hashlib.md5(metrics.read_bytes()).hexdigest()))
    project.commit()


def differing(output: str) -> list[str]:
    rows = [line.split() for line in output.splitlines()]
    return [row[0] for row in rows if row[-1:] == ["differs"]]


@pytest.mark.slow
def test_another_output_than_the_lock_has_is_named(project: Project) -> None:
    tamper(project)
    done = project.run("python", "-m", "src.audit.reproduce")
    assert done.returncode == 1
    assert differing(done.stdout) == [METRICS]
    assert "the same, so these outputs should be, too" in done.stdout


@pytest.mark.slow
def test_other_data_passes_on_no_machine(project: Project) -> None:
    machine, lock = project.path / "metrics/trained_on.json", project.path / "dvc.lock"
    machine.write_text(machine.read_text().replace('"threads": 2', '"threads": 3'))
    lock.write_text(lock.read_text().replace(project.outs()["data/MNIST"], f"{32 * 'f'}.dir"))
    project.commit()
    done = project.run("python", "-m", "src.audit.reproduce")
    assert done.returncode == 1
    assert "data/MNIST: differs, though no machine has an influence on it" in done.stdout


@pytest.mark.slow
def test_another_output_of_another_machine_passes_within_the_seed_noise(project: Project) -> None:
    machine = project.path / "metrics/trained_on.json"
    machine.write_text(machine.read_text().replace('"threads": 2', '"threads": 3'))
    tamper(project)
    done = project.run("python", "-m", "src.audit.reproduce")
    assert done.returncode == 0
    assert differing(done.stdout) == [METRICS]
    assert "threads: 3 before, 2 now" in done.stdout
    assert "within what another seed changes" in done.stdout
