"""The notebook runs and draws its figures."""

import runpy
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from pydantic import ValidationError

from tests.conftest import REPOSITORY


def test_notebook_runs_completely(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(REPOSITORY))
    monkeypatch.chdir(REPOSITORY / "notebooks")
    monkeypatch.setattr(plt, "show", lambda: None)
    with plt.rc_context({"backend": "agg"}):
        found = runpy.run_path("explore.py")
    plt.close("all")
    assert found["scores"]["test_acc"] > 0.8
    assert found["chosen"] in found["histories"]
    lines = found["curves"].axes[0].lines
    assert [list(line.get_ydata()) for line in lines] == [list(h["val_acc"]) for h in found["histories"].values()]
    assert len(found["examples"].axes) == 10
    drawn = sum(patch.get_height() for patch in found["confidences"].axes[0].patches)
    assert drawn == len(found["test"].labels)


def test_misspelt_param_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(REPOSITORY))
    monkeypatch.chdir(REPOSITORY / "notebooks")
    text = Path("explore.py").read_text()
    assert text.count('"epochs": 2') == 1
    copy = tmp_path / "explore.py"
    copy.write_text(text.replace('"epochs": 2', '"epoch": 2'))
    monkeypatch.setattr(plt, "show", lambda: None)
    with plt.rc_context({"backend": "agg"}), pytest.raises(ValidationError, match="epoch"):
        runpy.run_path(str(copy))
    plt.close("all")
