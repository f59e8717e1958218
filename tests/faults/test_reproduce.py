"""`make reproduce` tells the same from another result, and says what may be the reason."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
from ruamel.yaml import YAML

from src.audit.differences import compare_metrics, machine_differences
from src.audit.results import Results, read_results
from src.core.errors import UserError
from src.core.files import md5
from src.noise.measurement import NOISE, Measurement, format_noise, measure_noise
from src.report.policy import Policy
from tests.conftest import THREADS
from tests.faults.project import Project

MADE_WITH = {"train: device": "cpu", "train: threads": 2, "train: kernels": {}, "train: torch": "2"}
METRICS = "metrics/eval.json"
COMMITTED = Results({METRICS: "0"}, frozenset(), MADE_WITH, {METRICS: {"test_acc": 0.99}})
POLICY = Policy.model_validate(
    {"metrics": {METRICS: {"test_acc": {"better": "higher", "tolerated": 0.001, "gates": True}}}}
)


def measured(data: str, params: Mapping[str, object]) -> Measurement:
    """Three seeds with a standard deviation of 0.001."""
    runs = [
        {"seed": seed, "metrics": {METRICS: {"test_acc": 1 - wrong / 1000}}, "wrong": list(range(wrong))}
        for seed, wrong in enumerate((11, 10, 9))
    ]
    return measure_noise(data, params, "a machine", 1000, runs)


def test_the_same_machine_has_no_differences() -> None:
    assert list(machine_differences(COMMITTED, COMMITTED)) == []


@pytest.mark.parametrize("name", MADE_WITH)
def test_each_difference_of_versions_and_machines_is_named(name: str) -> None:
    again = replace(COMMITTED, made_with={**MADE_WITH, name: "other"})
    assert list(machine_differences(COMMITTED, again)) == [f"{name}: {MADE_WITH[name]} before, other now"]


def test_versions_and_machine_are_those_of_the_receipts(project: Project) -> None:
    made_with = read_results(project.path).made_with
    assert made_with["train: threads"] == THREADS
    assert made_with["evaluate: scikit-learn"]
    assert "fetch: cpu" not in made_with


def test_a_lock_that_contradicts_a_receipt_is_no_result(project: Project) -> None:
    lock = project.path / "dvc.lock"
    lock.write_text(lock.read_text().replace(project.outs()["models/model.safetensors"], 32 * "f"))
    (project.path / "models/model.safetensors").unlink()
    with pytest.raises(UserError, match=r"^dvc.lock contradicts receipts/train.json in models/model.safetensors"):
        read_results(project.path)


def test_committed_metrics_that_were_edited_are_refused(project: Project) -> None:
    metrics = project.path / METRICS
    metrics.write_text(metrics.read_text().replace('"test_loss": 0.', '"test_loss": 0.0'))
    with pytest.raises(UserError, match=f"^{METRICS}: was committed with content that dvc.lock does not have"):
        read_results(project.path)


# Student's t with 2 degrees of freedom: 4.303 * sqrt(2) * 0.001 = 0.0061.
@pytest.mark.parametrize(("now", "within"), [(0.996, True), (0.9962, False), (0.984, True), (0.9838, False)])
def test_a_metric_is_compared_within_the_seed_noise(now: float, within: bool) -> None:
    again = replace(COMMITTED, metrics={METRICS: {"test_acc": now}})
    ((words, found),) = compare_metrics(COMMITTED, again, POLICY, measured("abc.dir", {}))
    assert found == within
    assert f"test_acc: 0.99 before, {now} now; {'within' if within else 'more than'} what another seed" in words


def test_a_metric_whose_seed_noise_nobody_measured_is_not_compared() -> None:
    assert not list(compare_metrics(COMMITTED, COMMITTED, POLICY, None))


@pytest.mark.slow
def test_a_clone_with_an_empty_cache_gives_the_same_bytes(project: Project) -> None:
    project.commit()
    done = project.run("python", "-m", "src.audit.reproduce")
    assert done.returncode == 0, done.stdout + done.stderr
    # A receipt describes the machine, too; it is no result.
    results = [path for path in project.outs() if not path.startswith("receipts/")]
    assert f"All {len(results)} outputs are byte-identical." in done.stdout
    assert "differs" not in done.stdout


def rehash(project: Project, path: str, new: str) -> None:
    """Give an output another hash in its receipt and in dvc.lock."""
    for file in (*project.path.glob("receipts/*"), project.path / "dvc.lock"):
        file.write_text(file.read_text().replace(project.outs()[path], new))
        if file.parent.name == "receipts":
            receipt = f"receipts/{file.name}"
            lock = project.path / "dvc.lock"
            lock.write_text(lock.read_text().replace(project.outs()[receipt], md5(file)))


def tamper(project: Project) -> None:
    """Commit better test metrics than the pipeline gives, with all hashes to match."""
    metrics = project.path / METRICS
    metrics.write_text(metrics.read_text().replace('"test_loss": 0.', '"test_loss": 0.0'))
    rehash(project, METRICS, md5(metrics))
    project.commit()


def other_threads(project: Project) -> None:
    for stage in ("train", "evaluate"):
        receipt = project.path / f"receipts/{stage}.json"
        receipt.write_text(receipt.read_text().replace('"threads": 1', '"threads": 3'))
        rehash(project, f"receipts/{stage}.json", md5(receipt))


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
    other_threads(project)
    rehash(project, "data/MNIST", f"{32 * 'f'}.dir")
    project.commit()
    done = project.run("python", "-m", "src.audit.reproduce")
    assert done.returncode == 1
    assert "data/MNIST: differs, though it does not depend on the machine" in done.stdout


@pytest.mark.slow
def test_another_output_of_another_machine_passes_within_the_seed_noise(project: Project) -> None:
    other_threads(project)
    params = YAML(typ="safe").load(project.path / "params.yaml")
    noise = format_noise([measured(project.outs()["data/MNIST"], params)])
    (project.path / NOISE).write_text(noise)
    tamper(project)
    done = project.run("python", "-m", "src.audit.reproduce")
    assert done.returncode == 0
    assert differing(done.stdout) == [METRICS]
    assert "train: threads: 3 before, 1 now" in done.stdout
    assert "within what another seed changes" in done.stdout
