from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from src.core.errors import UserError
from src.predict.images import BOX, like_mnist, read_digit


def seven(size: int = 200, paper: int = 255, ink: int = 0) -> Image.Image:
    image = Image.new("L", (size, size), paper)
    points = [(0.3, 0.2), (0.7, 0.2), (0.45, 0.8)]
    ImageDraw.Draw(image).line([(x * size, y * size) for x, y in points], fill=ink, width=size // 12)
    return image


def form(image: Image.Image) -> np.ndarray:
    return like_mnist(np.asarray(image, float), "picture")


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.minimum(a, b).sum() / np.maximum(a, b).sum())


def test_dark_on_light_and_light_on_dark_are_the_same_digit() -> None:
    np.testing.assert_array_equal(form(seven()), form(seven(paper=0, ink=255)))


@pytest.mark.parametrize("size", [40, 100, 999])
def test_the_size_of_the_picture_hardly_matters(size: int) -> None:
    assert overlap(form(seven(size)), form(seven(400))) > 0.7


def test_the_place_in_the_picture_does_not_matter() -> None:
    moved = Image.new("L", (700, 500), 255)
    moved.paste(seven(), (450, 20))
    np.testing.assert_array_equal(form(moved), form(seven()))


@given(paper=st.integers(0, 255), ink=st.integers(0, 255), size=st.integers(30, 120))
def test_a_digit_fills_its_box_and_its_mass_is_in_the_middle(paper: int, ink: int, size: int) -> None:
    if abs(paper - ink) < 40:
        return
    digit = form(seven(size, paper, ink)).astype(float)
    rows, columns = np.flatnonzero(digit.any(1)), np.flatnonzero(digit.any(0))
    assert max(np.ptp(rows), np.ptp(columns)) + 1 == pytest.approx(BOX, abs=1)
    for axis in (0, 1):
        mass = digit.sum(1 - axis)
        assert abs(mass @ np.arange(28) / mass.sum() + 0.5 - 14) <= 0.5


def test_an_image_of_mnists_form_stays_as_it_is() -> None:
    digit = form(seven())
    np.testing.assert_array_equal(like_mnist(digit.astype(float), "picture"), digit)


def test_noise_on_the_paper_is_no_ink(tmp_path: Path) -> None:
    seven().save(tmp_path / "seven.jpg", quality=75)
    assert overlap(read_digit(tmp_path / "seven.jpg"), form(seven())) > 0.8


def test_a_transparent_background_is_paper(tmp_path: Path) -> None:
    image = Image.new("RGBA", (200, 200), (0, 0, 0, 0))
    image.paste((10, 10, 10, 255), mask=Image.eval(seven(), lambda value: 255 - value))
    image.save(tmp_path / "seven.png")
    assert overlap(read_digit(tmp_path / "seven.png"), form(seven(ink=10))) > 0.95


@pytest.mark.parametrize("paper", [0, 128, 255])
def test_an_empty_picture_is_refused(paper: int) -> None:
    with pytest.raises(UserError, match=r"^picture: shows no digit"):
        form(seven(paper=paper, ink=paper))


@pytest.mark.parametrize("content", [b"", b"text", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_picture_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"a.png: is not a picture that can be read"):
        read_digit(path)


def test_a_picture_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    seven().save(path)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(UserError, match=r"a.jpg: is not a picture that can be read"):
        read_digit(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a.png: no such file$"):
        read_digit(tmp_path / "a.png")
