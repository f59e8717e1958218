from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from src.mnist.evaluate.error_grid import draw_errors
from src.mnist.train.learning_curve import draw_learning_curve
from tests.conftest import random_examples

ROWS = [
    {"epoch": epoch, "loss": 1 / epoch, "acc": 1 - 0.1 / epoch, "f1": 1 - 0.2 / epoch}
    | {"val_loss": 1.1 / epoch, "val_acc": 1 - 0.15 / epoch, "val_f1": 1 - 0.25 / epoch}
    for epoch in range(1, 6)
]


def picture(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB")).astype(int)


def draw_random_errors(size: int, path: Path) -> None:
    draw_errors(random_examples(size).images, [f"{i} as {i + 1}" for i in range(size)], f"{size} errors", path)


def test_the_learning_curve_has_the_same_bytes_twice(tmp_path: Path) -> None:
    draw_learning_curve(ROWS, tmp_path / "a.png")
    draw_learning_curve(ROWS, tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_errors_have_the_same_bytes_twice(tmp_path: Path) -> None:
    draw_random_errors(7, tmp_path / "a.png")
    draw_random_errors(7, tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.fixture(scope="module")
def whole_curve(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    path = tmp_path_factory.mktemp("curve") / "all.png"
    draw_learning_curve(ROWS, path)
    return picture(path)


@pytest.mark.parametrize("column", [name for name in ROWS[0] if name != "epoch"])
def test_every_column_shows_in_the_learning_curve(tmp_path: Path, column: str, whole_curve: np.ndarray) -> None:
    draw_learning_curve([{k: v for k, v in row.items() if k != column} for row in ROWS], tmp_path / "without.png")
    assert not np.array_equal(picture(tmp_path / "without.png"), whole_curve)


def test_the_learning_curve_is_three_panels_wide_and_not_blank(tmp_path: Path) -> None:
    draw_learning_curve(ROWS, tmp_path / "curve.png")
    height, width, _ = picture(tmp_path / "curve.png").shape
    assert width > 2 * height
    for panel in np.array_split(picture(tmp_path / "curve.png"), 3, axis=1):
        assert panel.min() < 100


def test_a_first_epoch_far_off_does_not_flatten_the_later_ones(tmp_path: Path) -> None:
    far, further = ([ROWS[0] | {"epoch": 0, "loss": loss}, *ROWS] for loss in (1e3, 1e6))
    draw_learning_curve(far, tmp_path / "far.png")
    draw_learning_curve(further, tmp_path / "further.png")
    assert np.abs(picture(tmp_path / "far.png") - picture(tmp_path / "further.png")).mean() < 0.1


def test_one_epoch_is_a_picture_too(tmp_path: Path) -> None:
    draw_learning_curve(ROWS[:1], tmp_path / "curve.png")
    assert picture(tmp_path / "curve.png").min() < 100


@pytest.mark.parametrize("size", [0, 1, 10, 11, 40])
def test_any_number_of_errors_is_drawn(tmp_path: Path, size: int) -> None:
    draw_random_errors(size, tmp_path / "errors.png")
    assert picture(tmp_path / "errors.png").min() < 100


def test_more_errors_take_more_lines(tmp_path: Path) -> None:
    draw_random_errors(10, tmp_path / "one line.png")
    draw_random_errors(11, tmp_path / "two lines.png")
    assert len(picture(tmp_path / "two lines.png")) > len(picture(tmp_path / "one line.png"))


@pytest.mark.parametrize("change", ["image", "title", "caption"])
def test_digits_titles_and_caption_show(tmp_path: Path, change: str) -> None:
    images = np.zeros((2, 28, 28), np.uint8)
    draw_errors(images, ["1 as 7", "4 as 9"], "2 errors", tmp_path / "before.png")
    images[1, 14, 14] = 255 * (change == "image")
    titles = ["1 as 7", "4 as 6" if change == "title" else "4 as 9"]
    draw_errors(images, titles, "3 errors" if change == "caption" else "2 errors", tmp_path / "after.png")
    assert not np.array_equal(picture(tmp_path / "before.png"), picture(tmp_path / "after.png"))


def test_every_digit_needs_a_title(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="shorter"):
        draw_errors(random_examples(2).images, ["only one"], "2 errors", tmp_path / "errors.png")
    assert not (tmp_path / "errors.png").exists()
