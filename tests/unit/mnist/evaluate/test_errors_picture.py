from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from src.mnist.evaluate.pictures import draw_errors
from tests.conftest import random_examples


def picture(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB")).astype(int)


def draw_random_errors(size: int, path: Path) -> None:
    draw_errors(random_examples(size).images, [f"{i} as {i + 1}" for i in range(size)], f"{size} errors", path)


def test_errors_have_the_same_bytes_twice(tmp_path: Path) -> None:
    draw_random_errors(7, tmp_path / "a.png")
    draw_random_errors(7, tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


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
    with pytest.raises(ValueError, match="a title for each of 2 images"):
        draw_errors(random_examples(2).images, ["only one"], "2 errors", tmp_path / "errors.png")
    assert not (tmp_path / "errors.png").exists()
