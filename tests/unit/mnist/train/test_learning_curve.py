from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from src.mnist.train.learning_curve import draw_learning_curve

ROWS: list[dict[str, Any]] = [
    {"epoch": epoch, "loss": 1 / epoch, "acc": 1 - 0.1 / epoch, "f1": 1 - 0.2 / epoch}
    | {"val_loss": 1.1 / epoch, "val_acc": 1 - 0.15 / epoch, "val_f1": 1 - 0.25 / epoch}
    for epoch in range(1, 6)
]
COLUMNS = [name for name in ROWS[0] if name != "epoch"]


def drawn(rows: list[dict[str, Any]], folder: Path) -> np.ndarray:
    draw_learning_curve(rows, folder / "curve.png")
    with Image.open(folder / "curve.png") as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB")).astype(int)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    return drawn(ROWS, tmp_path_factory.mktemp("curve"))


@pytest.mark.parametrize("column", COLUMNS)
def test_every_column_shows(tmp_path: Path, column: str, whole: np.ndarray) -> None:
    without = drawn([{name: value for name, value in row.items() if name != column} for row in ROWS], tmp_path)
    assert not np.array_equal(without, whole)


BLUE = (0x1F, 0x77, 0xB4)


def heights(picture: np.ndarray, panel: int) -> tuple[int, int]:
    """Highest and lowest row of a panel's blue line, in its left part, where no legend is."""
    left = np.array_split(picture, 3, axis=1)[panel][:, :220]
    rows = np.flatnonzero((np.abs(left - BLUE).sum(2) < 30).any(1))
    return int(rows.min()), int(rows.max())


@pytest.mark.parametrize(("panel", "column", "first"), [(0, "loss", 1e3), (1, "acc", 0.1), (2, "f1", 0.02)])
def test_a_first_epoch_far_off_is_not_cropped_and_does_not_flatten_the_later_ones(
    tmp_path: Path, panel: int, column: str, first: float
) -> None:
    rows = [{"epoch": row["epoch"], column: row[column]} for row in ROWS]
    rows[0][column] = first
    far = drawn([*rows, {"epoch": 6, column: rows[-1][column]}], tmp_path)
    high, low = heights(far, panel)
    # The line spans the panel, from the first epoch to the last ones.
    assert low - high > 0.5 * len(far)
    # A change of the last epoch by a tenth of what is left can be seen.
    worst = 0.0 if column == "loss" else 1.0
    better = drawn([*rows, {"epoch": 6, column: worst + 0.9 * (rows[-1][column] - worst)}], tmp_path)
    assert np.abs(better - far).max() > 100


@pytest.mark.parametrize("count", [1, 50])
def test_any_number_of_epochs_is_a_picture(tmp_path: Path, count: int) -> None:
    rows = [ROWS[0] | {"epoch": epoch, "loss": 1 / epoch} for epoch in range(1, count + 1)]
    assert (np.abs(drawn(rows, tmp_path) - BLUE).sum(2) < 30).any()


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_score_at_an_end_of_its_range_has_a_point(tmp_path: Path, value: float) -> None:
    picture = drawn([{"epoch": 1, "acc": 0.5}, {"epoch": 2, "acc": value}], tmp_path)
    high, low = heights(picture, 1)
    assert low - high > 0.3 * len(picture)
