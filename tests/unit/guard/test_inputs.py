from pathlib import Path

import pytest

from src.core.errors import UserError
from src.guard.inputs import Declaration, check_unchanged, read_inputs
from src.mnist.model.params import Params
from tests.conftest import write_params


@pytest.fixture
def here(tmp_path: Path, params: Params, monkeypatch: pytest.MonkeyPatch) -> Declaration:
    """A stage with one folder of code and one param."""
    monkeypatch.chdir(tmp_path)
    write_params(tmp_path, params)
    Path(".dvcignore").write_text("__pycache__\n*~\n")
    Path("code/inner").mkdir(parents=True)
    Path("code/a.py").write_text("a")
    Path("code/inner/b.py").write_text("b")
    return Declaration("stage", deps=("code",), params=("seed",), all_params=False, outs=())


def test_ignored_files_are_no_inputs(here: Declaration) -> None:
    before = read_inputs(here)
    Path("code/a.py~").touch()
    Path("code/inner/__pycache__").mkdir()
    Path("code/inner/__pycache__/b.pyc").touch()
    assert read_inputs(here).by_name() == before.by_name()
    assert list(before.md5_by_path) == ["code/a.py", "code/inner/b.py"]


def test_without_a_list_of_ignored_files_none_is(here: Declaration) -> None:
    Path(".dvcignore").unlink()
    Path("code/a.py~").touch()
    assert "code/a.py~" in read_inputs(here).md5_by_path


def test_a_file_that_hides_others_from_dvc_is_refused(here: Declaration) -> None:
    Path("code/inner/.dvcignore").write_text("b.py\n")
    with pytest.raises(UserError, match=r"^code/inner/.dvcignore: hides files of code from DVC"):
        read_inputs(here)


def test_links_are_followed_as_dvc_does(here: Declaration, tmp_path: Path) -> None:
    Path("elsewhere").mkdir()
    Path("elsewhere/c.py").write_text("c")
    Path("code/linked").symlink_to(tmp_path / "elsewhere")
    assert "code/linked/c.py" in read_inputs(here).md5_by_path


@pytest.mark.parametrize(
    ("edit", "named"),
    [
        (lambda: Path("code/a.py").write_text("b"), "code/a.py"),
        (lambda: Path("code/new.py").touch(), "code/new.py"),
        (lambda: Path("code/a.py").unlink(), "code/a.py"),
        (lambda: Path("params.yaml").write_text(Path("params.yaml").read_text().replace("seed: 0", "seed: 1")), "seed"),
    ],
    ids=["edited", "added", "removed", "param"],
)
def test_a_change_is_named(here: Declaration, edit: object, named: str) -> None:
    before = read_inputs(here)
    edit()  # type: ignore[operator]
    with pytest.raises(UserError, match=rf"{named} changed during the run, so its result is void"):
        check_unchanged(here, before)


def test_what_is_touched_or_declared_by_others_is_no_change(here: Declaration) -> None:
    before = read_inputs(here)
    Path("code/a.py").touch()
    Path("params.yaml").write_text(Path("params.yaml").read_text().replace("epochs: 2", "epochs: 3"))
    check_unchanged(here, before)


def test_a_missing_dependency_is_named_with_its_repair(here: Declaration) -> None:
    Path("code/a.py").unlink()
    Path("code/inner/b.py").unlink()
    Path("code/inner").rmdir()
    Path("code").rmdir()
    with pytest.raises(UserError, match=r"^code: is missing; run `dvc repro`$"):
        read_inputs(here)
