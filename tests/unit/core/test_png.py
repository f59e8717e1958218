from pathlib import Path

import matplotlib
import pytest
from matplotlib.figure import Figure

from src.core.png import default_style, write_png

pytestmark = pytest.mark.fault(50, 62)


@default_style()
def draw(path: Path) -> bytes:
    figure = Figure(figsize=(2, 2))
    figure.add_subplot().plot([1, 2])
    write_png(figure, path)
    return path.read_bytes()


def test_matplotlibrc_does_not_change_the_bytes(tmp_path: Path) -> None:
    before = draw(tmp_path / "a.png")
    with matplotlib.rc_context({"lines.linewidth": 9, "figure.facecolor": "red", "savefig.dpi": 17}):
        assert draw(tmp_path / "b.png") == before
        assert matplotlib.rcParams["lines.linewidth"] == 9
