"""Photographs of digits: uneven light is removed, and anything but one digit on bare paper is rejected."""

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from benchmarks.pictures import framed, light, on_page, photograph, ruled
from src.core.errors import UserError
from src.mnist.fetch.digits import digits_as_mnist
from src.mnist.predict.images import like_mnist
from tests.unit.mnist.predict.test_images import form, overlap, seven

DIGITS = digits_as_mnist()["test"].images[:6]
PAGES = [on_page(digit, np.random.default_rng(number)) for number, digit in enumerate(DIGITS)]
EVEN = light("even", 0)


def read(ink: np.ndarray, lit: np.ndarray = EVEN, seed: int = 0) -> np.ndarray:
    return like_mnist(photograph(ink, lit, np.random.default_rng(seed)), "photograph").image


@pytest.fixture(scope="module")
def plain() -> list[np.ndarray]:
    return [read(page, seed=number) for number, page in enumerate(PAGES)]


@pytest.mark.parametrize("kind", ["across", "corners", "corner"])
def test_uneven_light_hardly_changes_the_result(kind: str, plain: list[np.ndarray]) -> None:
    lit = light(kind, 0.5)
    overlaps = [overlap(plain[number], read(page, lit, number)) for number, page in enumerate(PAGES)]
    assert np.mean(overlaps) > 0.9


def test_chalk_on_an_unevenly_lit_board_is_read() -> None:
    lit = np.linspace(1, 0.5, 200)
    board = np.asarray(seven(paper=40, ink=220), float) * lit
    assert overlap(like_mnist(board, "photograph").image, form(seven())) > 0.7


def test_faint_ruled_lines_are_ignored(plain: list[np.ndarray]) -> None:
    assert overlap(plain[0], read(ruled(PAGES[0], 40, 0.2))) > 0.85


def cut_off(ink: np.ndarray) -> np.ndarray:
    return ink[:, int(np.flatnonzero(ink.any(0))[0]) + 30 :]


def two(ink: np.ndarray, gap: int = 20) -> np.ndarray:
    """Put the digit twice, side by side."""
    columns = np.flatnonzero((ink > 0.1).any(0))
    digit = ink[:, columns[0] : columns[-1] + 1]
    space = np.zeros((len(ink), gap))
    return np.hstack([space, digit, space, digit, space])


REFUSED: dict[str, tuple[Callable[[np.ndarray], np.ndarray], str]] = {
    "dark lines": (lambda ink: ruled(ink, 40, 0.9), "reach the border"),
    "empty frame": (lambda ink: framed(ink, 20) - ink, "a frame"),
    "frame around the digit": (lambda ink: framed(ink, 20), "a frame"),
    "frame that touches the digit": (lambda ink: framed(ink, 0), "a frame"),
    "cropped digit": (cut_off, "reach the border"),
    "two digits side by side": (two, "more than one digit"),
    "two digits stacked": (lambda ink: two(ink.T).T, "more than one digit"),
    "bare paper": (np.zeros_like, "no digit"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_anything_but_one_digit_on_bare_paper_is_rejected(case: str) -> None:
    add, reason = REFUSED[case]
    page = Image.fromarray(DIGITS[0]).resize((200, 200), Image.Resampling.BICUBIC)
    ink = add(np.pad(np.asarray(page, float) / 255, ((100, 100), (150, 150))))
    with pytest.raises(UserError, match=rf"^photograph: .*{reason}.*"):
        read(ink, np.ones(ink.shape))


def test_digit_may_touch_the_border_at_mnist_size() -> None:
    moved = np.roll(form(seven()), 28 - np.flatnonzero(form(seven()).any(0))[-1] - 1, axis=1)
    assert moved[:, -1].any()
    np.testing.assert_array_equal(like_mnist(moved.astype(float), "picture").image, form(seven()))


def test_detached_strokes_belong_to_the_digit() -> None:
    five = Image.new("L", (200, 200), 255)
    five.paste(0, (80, 40, 140, 52))
    five.paste(seven().crop((40, 60, 140, 180)), (50, 65))
    assert like_mnist(np.asarray(five, float), "picture").image[:8].any()
