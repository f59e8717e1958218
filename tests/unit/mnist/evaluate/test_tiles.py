from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from src.mnist.evaluate.pictures import MAX_TILES, TILE_COLUMNS, draw_tiles


def tile(path: Path, position: int) -> np.ndarray:
    row, column = divmod(position, TILE_COLUMNS)
    with Image.open(path) as opened:
        picture = np.asarray(opened)
    return picture[row * 28 :, column * 28 :][:28, :28]


@pytest.mark.parametrize("count", [1, 19, 20, 21, 45])
def test_each_digit_stands_in_its_place_in_reading_order(tmp_path: Path, count: int) -> None:
    images = np.random.default_rng(count).integers(0, 256, (count, 28, 28), np.uint8)
    draw_tiles(images, tmp_path / "tiles.png")
    for position, image in enumerate(images):
        np.testing.assert_array_equal(255 - tile(tmp_path / "tiles.png", position), image)


def test_no_error_leaves_a_white_row(tmp_path: Path) -> None:
    draw_tiles(np.zeros((0, 28, 28), np.uint8), tmp_path / "tiles.png")
    with Image.open(tmp_path / "tiles.png") as opened:
        picture = np.asarray(opened)
    assert picture.shape == (28, 560)
    assert picture.min() == 255


def test_a_useless_model_does_not_put_megabytes_into_git(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (MAX_TILES + 500, 28, 28), np.uint8)
    draw_tiles(images, tmp_path / "tiles.png")
    with Image.open(tmp_path / "tiles.png") as picture:
        assert picture.size == (560, MAX_TILES // TILE_COLUMNS * 28)


def test_the_same_digits_give_the_same_bytes(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (7, 28, 28), np.uint8)
    draw_tiles(images, tmp_path / "one.png")
    draw_tiles(images, tmp_path / "two.png")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
