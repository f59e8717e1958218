"""The environment is an input: only a different version of a package that computes reruns train and evaluate."""

import json
import re
from importlib.metadata import version

import pytest

from src.guard.pins import PINS
from tests.faults.project import Project, refusal
from tests.pipeline.test_repro import stages_run

pytestmark = pytest.mark.fault(92)


def pin(project: Project, package: str, pinned: str) -> None:
    for name in ("requirements.txt", "requirements.lock"):
        path = project.path / name
        text, count = re.subn(rf"^{package}==\S+", f"{package}=={pinned}", path.read_text(), flags=re.MULTILINE)
        assert count == 1
        path.write_text(text)


def test_changed_torch_reruns_stages_and_old_results_are_restored(toy: Project) -> None:
    before, lock = toy.results(), toy.lock()
    pin(toy, "torch", "0.1")
    said = f"check: torch {version('torch')} is installed, requirements.lock pins 0.1; run `make repro`"
    assert refusal(toy.here("check")).startswith(said)
    assert stages_run(toy.repro(UNPINNED="torch")) == ["train", "evaluate"]
    (receipt,) = json.loads((toy.path / "receipts/train.json").read_text())
    assert receipt["machine"]["unpinned"] == {"torch": f"{version('torch')} instead of 0.1"}
    toy.git("checkout", "requirements.txt", "requirements.lock")
    assert stages_run(toy.repro()) == []
    assert (toy.results(), toy.lock()) == (before, lock)
    assert toy.git("status", "--porcelain") == ""


@pytest.mark.parametrize(("package", "path"), [("dvc", "requirements.txt"), ("torch", "requirements.lock")])
def test_version_edited_in_one_file_only_is_refused(toy: Project, package: str, path: str) -> None:
    toy.edit(path, f"\n{package}==", f"\n{package}==9.")
    said = rf"check: requirements.lock: expected one version of {package}==\S+, got \S+; `make lock repro`\n"
    assert re.fullmatch(said, refusal(toy.here("check")))


def test_unrelated_package_update_changes_no_inputs(toy: Project) -> None:
    before = (toy.path / PINS).read_bytes()
    pin(toy, "dvc", "0.1")
    assert toy.here("check").returncode == 0
    assert (toy.path / PINS).read_bytes() == before


def test_new_package_is_an_input_unless_it_is_a_known_tool(toy: Project) -> None:
    toy.append("requirements.txt", f"networkx=={version('networkx')}\n")
    assert toy.here("check").returncode == 0
    assert f"networkx=={version('networkx')}\n" in (toy.path / PINS).read_text()


def test_single_stage_run_checks_versions(toy: Project) -> None:
    path = toy.path / PINS
    path.chmod(0o644)
    path.write_text(path.read_text().replace("torch==", "torch==9."))
    said = refusal(toy.forked_stage("train"))
    assert said.startswith(f"train: torch {version('torch')} is installed, requirements.lock pins 9.")
