from pathlib import Path

import pytest

from src.guard.code import check_code
from src.guard.stage import Stage

pytestmark = pytest.mark.fault(93)

# Names that are bound in every way that Python has, and imports of every kind.
SOUND = """
from __future__ import annotations

import os.path as path, sys
from stages.others import helper
from stages.others.helper import one as two
from stages.package import defined, module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import stubs_only
try:
    import unheard
except ImportError as error:
    print(error)


class Kind:
    size: int = 2
    names = [__qualname__, __name__, __file__]

    def __init__(self, first, /, *others, key=None, **options) -> None:
        global counted
        counted = __class__, first, others, key, options, unheard, stubs_only
        self.total = sum(index for index, _ in enumerate(others) if (half := index / 2) and half)


def match(value):
    import unknown_but_inside

    match value:
        case [first, *rest]:
            return first, rest, counted
        case {"key": found, **more} as whole:
            return found, more, whole, unknown_but_inside
    with open(path.devnull) as file:
        return lambda line: (line, file, sys, helper, two)
"""


def test_sound_code_is_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # No `__init__.py`.
    Path("stages/others").mkdir(parents=True)
    Path("stages/sound.py").write_text(SOUND)
    Path("stages/others/helper.py").write_text("from os.path import *\none = join\n")
    Path("stages/package").mkdir()
    Path("stages/package/__init__.py").write_text("defined = 1\n")
    Path("stages/package/module.py").write_text("from . import defined\nfrom ..others.helper import one\n")
    stage = Stage("sound", ("stages/sound.py", "stages/others", "stages/package"), (), ())
    checked = ("sound", "others/helper", "package/__init__", "package/module")
    assert set(check_code([stage])) == {Path(f"stages/{name}.py") for name in checked}
