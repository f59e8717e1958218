"""The environment is an input: another version of what computes makes train and evaluate run, and nothing else does."""

import json
import re
from importlib.metadata import version

import pytest

from tests.faults.project import Project
from tests.pipeline.test_repro import stages_run

pytestmark = pytest.mark.fault(92)


@pytest.fixture
def done(project: Project) -> Project:
    """A toy project that is up to date."""
    project.make_toy()
    project.repro()
    project.commit()
    return project


def pin(project: Project, package: str, pinned: str) -> None:
    path = project.path / "requirements.lock"
    text, count = re.subn(rf"^{package}==\S+", f"{package}=={pinned}", path.read_text(), flags=re.MULTILINE)
    assert count == 1
    path.write_text(text)


def test_another_torch_makes_train_and_evaluate_run_and_the_old_results_come_back_with_the_old_one(
    done: Project,
) -> None:
    before, lock = done.results(), done.lock()
    pin(done, "torch", "0.1")
    refused = done.dvc("repro")
    assert refused.returncode != 0
    assert (
        f"check: torch {version('torch')} is installed, requirements.lock pins 0.1; run `make repro`" in refused.stderr
    )
    assert done.results() == before
    assert stages_run(done.repro(UNPINNED="torch")) == ["train", "evaluate"]
    (receipt,) = json.loads((done.path / "receipts/train.json").read_text())
    assert receipt["machine"]["unpinned"] == {"torch": f"{version('torch')} instead of 0.1"}
    done.git("checkout", "requirements.lock")
    assert stages_run(done.repro()) == []
    assert (done.results(), done.lock()) == (before, lock)
    assert done.git("status", "--porcelain") == ""


def test_a_package_that_computes_nothing_makes_no_other_stage_run(done: Project) -> None:
    pin(done, "dvc", "0.1")
    said = done.repro()
    assert "Running stage 'check'" in said
    assert stages_run(said) == []


def test_a_stage_that_is_run_by_itself_compares_versions_too(done: Project) -> None:
    path = done.path / "data/packages.txt"
    path.chmod(0o644)
    path.write_text(path.read_text().replace("torch==", "torch==9."))
    failed = done.stage("train")
    assert (failed.returncode, failed.stderr.count("\n")) == (1, 1)
    assert failed.stderr.startswith(f"train: torch {version('torch')} is installed, requirements.lock pins 9.")
