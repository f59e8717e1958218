from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from PIL import Image

from src.mnist.model.scores import CHARTED
from src.mnist.train.learning_curve import draw_learning_curve

SHARES = [name for name in CHARTED if name != "loss"]
TRAIN, VALIDATION = (0x1F, 0x77, 0xB4), (0xD9, 0x5F, 0x02)
ROWS: list[dict[str, Any]] = [
    {"epoch": epoch, "loss": 1 / epoch, **dict.fromkeys(SHARES, 1 - 0.2 / epoch)} for epoch in range(1, 7)
]


def drawn(rows: list[dict[str, Any]], folder: Path) -> list[np.ndarray]:
    """Draw the curve and return the left part of each panel, without the legend."""
    draw_learning_curve(rows, folder / "curve.png")
    with Image.open(folder / "curve.png") as image:
        assert image.format == "PNG"
        pixels = np.asarray(image.convert("RGB")).astype(int)
        return [panel[:, :220] for panel in np.array_split(pixels, len(CHARTED), axis=1)]


def height(panel: np.ndarray, colour: tuple[int, int, int] = TRAIN) -> float:
    """Share of a panel's height that a line spans; 0 without a line."""
    rows = np.flatnonzero((np.abs(panel - colour).sum(2) < 30).any(1))
    return float(np.ptp(rows)) / len(panel) if len(rows) else 0


def test_panel_has_a_line_per_column(tmp_path: Path) -> None:
    validated = [row | {"val_loss": 2 * row["loss"], "val_acc": row["acc"] - 0.1} for row in ROWS]
    panels = drawn(validated, tmp_path)
    assert all(height(panel) > 0 for panel in panels)
    assert [height(panel, VALIDATION) > 0 for panel in panels] == [name in ("loss", "acc") for name in CHARTED]


def test_early_outlier_does_not_hide_later_changes(tmp_path: Path) -> None:
    rows = [{**ROWS[0], "loss": 1e3, **dict.fromkeys(SHARES, 0.02)}, *ROWS[1:]]
    far = drawn(rows, tmp_path)
    # Each line spans its panel, from the first epoch to the last.
    assert min(map(height, far)) > 0.5
    # A reduction of the last epoch's error by a tenth is visible.
    last = rows[-1]
    nearer = {"loss": 0.9 * last["loss"], **{name: 1 - 0.9 * (1 - last[name]) for name in SHARES}}
    better = drawn([*rows[:-1], last | nearer], tmp_path)
    assert all(np.abs(one - other).max() > 100 for one, other in zip(better, far, strict=True))


@pytest.mark.parametrize("count", [1, 50])
def test_any_number_of_epochs_can_be_plotted(tmp_path: Path, count: int) -> None:
    rows = [ROWS[0] | {"epoch": epoch, "loss": 1 / epoch} for epoch in range(1, count + 1)]
    assert min(map(height, drawn(rows, tmp_path))) > 0


def test_scores_of_zero_and_one_are_plotted(tmp_path: Path) -> None:
    panels = drawn([{"epoch": 1, "acc": 0.5, "f1": 0.5}, {"epoch": 2, "acc": 0.0, "f1": 1.0}], tmp_path)
    shown = dict(zip(CHARTED, panels, strict=True))
    assert height(shown["acc"]) > 0.3 < height(shown["f1"])


def test_style_of_a_notebook_is_neither_used_nor_lost(tmp_path: Path) -> None:
    paths = tmp_path / "default.png", tmp_path / "styled.png"
    draw_learning_curve(ROWS, paths[0])
    with matplotlib.rc_context({"lines.linewidth": 7, "font.size": 5, "savefig.dpi": 30, "figure.facecolor": "red"}):
        draw_learning_curve(ROWS, paths[1])
        assert matplotlib.rcParams["lines.linewidth"] == 7
    assert paths[0].read_bytes() == paths[1].read_bytes()
