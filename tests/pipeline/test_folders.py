"""The promise of the layout: a file's folder determines which stages rerun when the file is edited."""

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


def test_every_code_folder_is_covered(toy: Project) -> None:
    folders = {str(path.parent.relative_to(toy.path)) for path in toy.path.glob("src/**/*.py")}
    assert folders - {"src", "src/mnist"} == {place for place in PROMISED if place.startswith("src")}


def edit(project: Project, place: str) -> None:
    path = project.path / place
    if path.suffix == ".py":
        path.write_text(path.read_text() + "# edited\n")
    else:
        path.mkdir(exist_ok=True)
        (path / "added.py").touch()


def stale(project: Project) -> set[str]:
    with Repo(str(project.path)) as repo:
        # DVC names a stage with the path of its dvc.yaml.
        return {stage.rpartition(":")[2] for stage in repo.status()}


def test_edit_makes_exactly_the_expected_stages_stale(toy: Project) -> None:
    found = {}
    for place in (place for place in PROMISED if PROMISED[place]):
        edit(toy, place)
        found[place] = stale(toy)
        toy.git("checkout", "--quiet", ".")
        toy.git("clean", "--quiet", "--force", place)
    assert found == {place: stages for place, stages in PROMISED.items() if stages}


def test_unrelated_files_make_no_stage_stale(toy: Project) -> None:
    for place in (place for place in PROMISED if not PROMISED[place]):
        edit(toy, place)
    (toy.path / "src/mnist/train/__pycache__").mkdir()
    for name in ("__pycache__/model.cpython-311.pyc", ".model.py.swp", "model.py~", ".#model.py"):
        (toy.path / "src/mnist/train" / name).touch()
    assert stale(toy) == set()
