import itertools
from collections.abc import Callable

import numpy as np
import pytest

from benchmarks.pictures import drawn, on_page, photograph, together
from src.mnist.fetch.digits import digits_as_mnist
from src.mnist.predict.doubt import DIGITS, doubt, effective_number
from src.mnist.predict.images import like_mnist
from src.mnist.predict.strokes import crossings, stroke_width
from tests.unit.mnist.predict.test_images import seven

TEST, FEW = digits_as_mnist()["test"], (1.0, 1.0)


def sure_of(digit: int) -> np.ndarray:
    return np.where(np.arange(10) == digit, 0.991, 0.001)


@pytest.mark.parametrize(("probs", "expected"), [([1, 0, 0], 1), ([0.5, 0.5, 0], 2), ([0.1] * 10, 10)])
def test_effective_number_of_digits(probs: list[float], expected: float) -> None:
    assert effective_number(np.array(probs)) == pytest.approx(expected)
    assert 1 < DIGITS < 10


def test_ambiguous_answer_names_the_likely_digits() -> None:
    probs = np.array([0, 0, 0, 0, 0.5, 0, 0, 0.1, 0.05, 0.35])
    assert doubt(probs, FEW) == "may be 4, 9, 7 or no digit"
    assert doubt(sure_of(4), FEW) is None


def photographed(ink: np.ndarray) -> tuple[float, float]:
    return like_mnist(photograph(ink, np.ones(ink.shape), np.random.default_rng(0)), "photograph").crossings


def pages(count: int) -> list[tuple[np.ndarray, int]]:
    rng = np.random.default_rng(0)
    return [(on_page(image, rng), int(label)) for image, label in zip(TEST.images[:count], TEST.labels, strict=False)]


def test_digit_does_not_exceed_the_crossings_of_its_class() -> None:
    doubts = [doubt(sure_of(label), photographed(ink)) for ink, label in pages(12)]
    assert doubts.count(None) >= 11


# Two digits that touch, or a digit with a circle.
ADDED: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "two digits side by side": together,
    "two digits stacked": lambda ink, other: together(ink.T, other.T).T,
    "a circle through the digit": lambda ink, _: drawn(
        ink, 0.5 + 0.6 * np.array([(np.cos(angle), np.sin(angle)) for angle in np.linspace(0, 2 * np.pi, 60)])
    ),
}


@pytest.mark.parametrize("kind", ADDED)
def test_additional_strokes_raise_doubt(kind: str) -> None:
    for (ink, _), (other, _) in itertools.pairwise(pages(6)):
        crossed = photographed(ADDED[kind](ink, other))
        for digit in (1, 7):
            assert doubt(sure_of(digit), crossed) == f"has too many strokes for the digit {digit}"


def test_crossings_are_means_over_rows_and_columns() -> None:
    letter = np.array([list("#.#.#"), list("###.#"), list("#.#.#")]) == "#"
    assert crossings(letter) == (pytest.approx(8 / 3), pytest.approx(4 / 5))


@pytest.mark.parametrize("width", [3, 8, 20])
def test_stroke_width_matches_the_pen(width: int) -> None:
    assert stroke_width(np.asarray(seven(400, pen=width)) < 128) == pytest.approx(width, rel=0.2, abs=1)
