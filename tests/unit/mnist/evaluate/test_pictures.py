from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from src.mnist.evaluate.pictures import COLUMNS, DIGIT, MARGIN, MAX_ERRORS, SIDE, draw_errors
from tests.conftest import random_examples


def draw(size: int, path: Path, title: str = "8 as 8 (100%)") -> np.ndarray:
    draw_errors(random_examples(size).images, [title] * size, path)
    with Image.open(path) as image:
        assert (image.format, image.mode) == ("PNG", "L")
        return np.asarray(image).astype(int)


@pytest.mark.parametrize("size", [1, 10, 21])
def test_each_digit_is_in_its_cell_below_the_longest_title(tmp_path: Path, size: int) -> None:
    picture, images = draw(size, tmp_path / "errors.png"), random_examples(size).images
    assert picture.shape == (-(-size // COLUMNS) * SIDE, COLUMNS * SIDE)
    left = (SIDE - DIGIT) // 2
    for position, image in enumerate(images):
        row, column = divmod(position, COLUMNS)
        part = picture[row * SIDE : (row + 1) * SIDE, column * SIDE : (column + 1) * SIDE]
        digit = part[MARGIN : MARGIN + DIGIT, left : left + DIGIT]
        np.testing.assert_array_equal(255 - digit[1::3, 1::3], image)
        assert part[:MARGIN].min() < 100, "the title"
        assert part[MARGIN + DIGIT :].min() == part[:, :2].min() == part[:, -2:].min() == 255, "nothing is cut off"


def test_no_errors_yield_one_white_row(tmp_path: Path) -> None:
    picture = draw(0, tmp_path / "errors.png")
    assert picture.shape == (SIDE, COLUMNS * SIDE)
    assert picture.min() == 255


def test_number_of_drawn_errors_is_limited(tmp_path: Path) -> None:
    draw_errors(np.zeros((MAX_ERRORS + 50, 32, 32), np.uint8), [""] * (MAX_ERRORS + 50), tmp_path / "errors.png")
    with Image.open(tmp_path / "errors.png") as image:
        assert image.height == MAX_ERRORS // COLUMNS * SIDE


def test_image_depends_on_titles(tmp_path: Path) -> None:
    first, second = (draw(1, tmp_path / "errors.png", title) for title in ("4 as 9 (99%)", "4 as 6 (99%)"))
    assert not np.array_equal(first, second)
