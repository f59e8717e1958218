import sys
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

import pytest

from src.guard.unused import hiding


def test_a_hidden_package_looks_as_if_it_were_not_installed_until_the_end() -> None:
    # Nothing imports it, so that no earlier test can have done so.
    package = "pip"
    assert package not in sys.modules
    with hiding([package]):
        for name in (package, f"{package}.__main__"):
            with pytest.raises(ModuleNotFoundError):
                import_module(name)
        # Libraries ask this way before they import.
        assert find_spec(package) is None
        with pytest.raises(PackageNotFoundError):
            version(package)
        assert version("pytest") == pytest.__version__
        assert find_spec("json") is not None
    assert version(package)
    assert find_spec(package) is not None
