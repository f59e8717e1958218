"""The promise of the layout: a file's folder decides which stages run again when the file is edited."""

import pytest
from dvc.repo import Repo

from tests.faults.project import Project

ALL = {"check", "fetch", "train", "evaluate"}
# The table in docs/layout.md. `check` alone never makes another stage run, since its output never changes.
PROMISED = {
    "src/core": ALL,
    "src/mnist/data": ALL,
    "src/mnist/model": {"check", "train", "evaluate"},
    "src/mnist/fetch": {"check", "fetch"},
    "src/mnist/train": {"check", "train"},
    "src/mnist/check": {"check"},
    "src/mnist/evaluate": {"check", "evaluate"},
    "src/guard": {"check"},
    "src/audit": set[str](),
    "src/mnist/card": set[str](),
    "src/mnist/export": set[str](),
    "src/sweep": set[str](),
    "src/mnist/predict": set[str](),
    "src/noise": set[str](),
    "src/report": set[str](),
    "src/revision": set[str](),
    "src/share": set[str](),
    "stages/fetch.py": {"check", "fetch"},
    "stages/train.py": {"check", "train"},
    "stages/evaluate.py": {"check", "evaluate"},
    "stages/check.py": {"check"},
    "stages/__main__.py": {"check"},
    "tests": set[str](),
}


def test_every_folder_of_code_has_its_promise(toy: Project) -> None:
    folders = {str(path.parent.relative_to(toy.path)) for path in toy.path.glob("src/**/*.py")}
    assert folders - {"src", "src/mnist"} == {place for place in PROMISED if place.startswith("src")}


def test_editing_a_file_makes_exactly_the_promised_stages_stale(toy: Project) -> None:
    stale = {}
    for place in PROMISED:
        target = toy.path / place
        if target.suffix == ".py":
            before = target.read_text()
            target.write_text(before + "# edited\n")
        else:
            target.mkdir(exist_ok=True)
            target = target / "added.py"
            target.touch()
        with Repo(str(toy.path)) as repo:
            # DVC names a stage with the path of its dvc.yaml.
            stale[place] = {stage.rpartition(":")[2] for stage in repo.status()}
        if target.name == "added.py":
            target.unlink()
        else:
            target.write_text(before)
    assert stale == PROMISED


@pytest.mark.parametrize("left", ["__pycache__/model.cpython-311.pyc", ".model.py.swp", "model.py~", ".#model.py"])
def test_what_python_and_editors_leave_makes_nothing_stale(toy: Project, left: str) -> None:
    path = toy.path / "src/mnist/train" / left
    path.parent.mkdir(exist_ok=True)
    path.touch()
    with Repo(str(toy.path)) as repo:
        assert repo.status() == {}
