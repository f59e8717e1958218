"""`make reproduce` tells the same from another result, and says what may be the reason."""

import json
from pathlib import Path

import pytest

from src.reproduce import MACHINE, differences, within_noise
from tests.faults.project import Project

RECORD = {"device": "cpu", "threads": 2, "cpu": "x86_64 AVX512", "kernels": {}, "versions": {"torch": "2"}}


def repository(path: Path, requirements: str = "numpy\n", **record: object) -> Path:
    (path / "logs").mkdir(parents=True)
    (path / "requirements.txt").write_text(requirements)
    (path / "logs/train.json").write_text(json.dumps({**RECORD, **record, "fit_seconds": 1}))
    return path


def test_the_same_machine_has_no_differences(tmp_path: Path) -> None:
    assert differences(repository(tmp_path / "a"), repository(tmp_path / "b", fit_seconds=2)) == []


@pytest.mark.parametrize("key", MACHINE)
def test_each_difference_of_machines_is_named(tmp_path: Path, key: str) -> None:
    lines = differences(repository(tmp_path / "a"), repository(tmp_path / "b", **{key: "other"}))
    assert lines == [f"{key}: {RECORD[key]} before, other now"]


def test_other_versions_than_required_are_named(tmp_path: Path) -> None:
    before = repository(tmp_path / "a", "# pinned\npytest==0.1\nno-such-package==1\n-c constraints.txt\n")
    assert differences(before, repository(tmp_path / "b")) == [
        f"pytest is {pytest.__version__} here, requirements.txt has 0.1",
        "no-such-package is not installed here, requirements.txt has 1",
    ]


def test_results_of_an_unknown_machine_are_said_to_be_so(tmp_path: Path) -> None:
    before = repository(tmp_path / "a")
    (before / "logs/train.json").unlink()
    assert differences(before, repository(tmp_path / "b")) == [
        "where the committed results were made is not on record here"
    ]


def test_noise_is_the_interval_of_the_test_accuracy() -> None:
    before = {"test_acc_low": 0.98, "test_acc_high": 0.99}
    assert [within_noise(before, {"test_acc": value}) for value in (0.979, 0.98, 0.99, 0.991)] == [
        False,
        True,
        True,
        False,
    ]


@pytest.mark.slow
def test_a_clone_with_an_empty_cache_gives_the_same_bytes(project: Project) -> None:
    project.commit()
    done = project.run("python", "-m", "src.reproduce")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"All {len(project.outs())} outputs are byte-identical." in done.stdout
    assert "differs" not in done.stdout


@pytest.mark.slow
def test_another_output_than_the_lock_has_is_named(project: Project) -> None:
    lock = project.path / "dvc.lock"
    lock.write_text(lock.read_text().replace(project.outs()["metrics/eval.json"], 32 * "f"))
    project.commit()
    done = project.run("python", "-m", "src.reproduce")
    assert done.returncode == 1
    rows = [line.split() for line in done.stdout.splitlines()]
    assert [row[0] for row in rows if row[-1:] == ["differs"]] == ["metrics/eval.json"]
    assert "the same, so these outputs should be, too" in done.stdout
