from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from src.mnist.evaluate.pictures import COLUMNS, DIGIT, MARGIN, MAX_ERRORS, SIDE, draw_errors
from tests.conftest import random_examples


def draw(size: int, path: Path) -> np.ndarray:
    images = random_examples(size).images
    draw_errors(images, [f"{i} as {i + 1}" for i in range(size)], path)
    return opened(path)


def opened(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert (image.format, image.mode) == ("PNG", "L")
        return np.asarray(image).astype(int)


def cell(picture: np.ndarray, position: int) -> np.ndarray:
    row, column = divmod(position, COLUMNS)
    return picture[row * SIDE : (row + 1) * SIDE, column * SIDE : (column + 1) * SIDE]


@pytest.mark.parametrize("size", [1, 9, 10, 11, 45])
def test_each_digit_stands_in_its_place_below_its_title(tmp_path: Path, size: int) -> None:
    picture, images = draw(size, tmp_path / "errors.png"), random_examples(size).images
    assert picture.shape == (-(-size // COLUMNS) * SIDE, COLUMNS * SIDE)
    left = (SIDE - DIGIT) // 2
    for position, image in enumerate(images):
        part = cell(picture, position)
        digit = part[MARGIN : MARGIN + DIGIT, left : left + DIGIT]
        np.testing.assert_array_equal(255 - digit[1::3, 1::3], image)
        assert part[:MARGIN].min() < 100, "the title"
        assert part[MARGIN + DIGIT :].min() == part[:, :2].min() == part[:, -2:].min() == 255, "nothing is cut off"


def test_without_errors_there_is_a_white_row(tmp_path: Path) -> None:
    picture = draw(0, tmp_path / "errors.png")
    assert picture.shape == (SIDE, COLUMNS * SIDE)
    assert picture.min() == 255


def test_a_useless_model_does_not_put_megabytes_into_git(tmp_path: Path) -> None:
    assert len(draw(MAX_ERRORS + 50, tmp_path / "errors.png")) == MAX_ERRORS // COLUMNS * SIDE


def test_another_title_is_another_picture(tmp_path: Path) -> None:
    for name in ("4 as 9 (99%)", "4 as 6 (99%)"):
        draw_errors(np.zeros((1, 28, 28), np.uint8), [name], tmp_path / name)
    first, second = (opened(tmp_path / name) for name in ("4 as 9 (99%)", "4 as 6 (99%)"))
    assert not np.array_equal(first, second)


def test_the_longest_title_fits(tmp_path: Path) -> None:
    draw_errors(np.zeros((2, 28, 28), np.uint8), ["8 as 8 (100%)"] * 2, tmp_path / "errors.png")
    part = cell(opened(tmp_path / "errors.png"), 1)
    assert part[:, :2].min() == part[:, -2:].min() == 255


def test_the_bytes_are_the_same_twice(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        draw(7, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_every_digit_needs_a_title(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a title for each of 2 images"):
        draw_errors(random_examples(2).images, ["only one"], tmp_path / "errors.png")
    assert not (tmp_path / "errors.png").exists()
