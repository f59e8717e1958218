import sys
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import pytest

from src.guard.unused import hiding, import_lightly


def test_hidden_package_appears_not_installed_within_the_context() -> None:
    # A package that no earlier test can have imported.
    package = "pip"
    assert package not in sys.modules
    with hiding([package]):
        for name in (package, f"{package}.__main__"):
            with pytest.raises(ModuleNotFoundError):
                import_module(name)
        # Libraries check like this before they import.
        assert find_spec(package) is None
        with pytest.raises(PackageNotFoundError):
            version(package)
        assert version("pytest") == pytest.__version__
        assert find_spec("json") is not None
    assert version(package)
    assert find_spec(package) is not None


def test_packages_imported_by_the_project_are_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("wanted", "unwanted"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "part.py").touch()
    (tmp_path / "library.py").write_text("try: import unwanted\nexcept ImportError: unwanted = None\n")
    (tmp_path / "own.py").write_text("import library\nimport wanted.part\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    own = import_lightly("own", ["wanted", "unwanted"])
    assert own.library.unwanted is None
    assert own.wanted.part
    with pytest.raises(ModuleNotFoundError, match="No module named 'no_such_package'"):
        import_lightly("no_such_package", ["wanted"])
