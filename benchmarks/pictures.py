"""How many photographs of a digit are read: `python -m benchmarks.pictures`, with the model and the data in the tree.

The photographs are simulated: test images drawn on grey paper, lit, blurred, with noise, saved as JPEG.
"""

import io
import itertools
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from src.core.errors import UserError
from src.mnist.data.dataset import load_examples
from src.mnist.predict.__main__ import MODEL, predict
from src.mnist.predict.images import like_mnist

HEIGHT, WIDTH = 400, 500
PAPER, PEN = 205, 50
NOISE = 4.0
QUALITY = 85
DIGITS = 60

Y, X = np.meshgrid(np.linspace(0, 1, HEIGHT), np.linspace(0, 1, WIDTH), indexing="ij")
# How the light falls over the page, 0 to 1; `corners` shades all four, `corner` one.
SHADES = {
    "even": np.zeros_like(X),
    "across": X,
    "down": Y,
    "aslant": (X + Y) / 2,
    "corners": ((X - 0.5) ** 2 + (Y - 0.5) ** 2) * 2,
    "corner": np.exp(-(X**2 + Y**2) / 0.125),
}


def light(kind: str, fall: float) -> np.ndarray:
    """Brightness at each pixel, from 1 - fall to 1."""
    return 1 - fall * SHADES[kind]


def on_page(digit: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Enlarge a digit of shape (28, 28), 0 to 255, to a random size and put it anywhere on a page: ink, 0 to 1."""
    side = int(HEIGHT * rng.uniform(0.4, 0.8))
    page = Image.new("L", (WIDTH, HEIGHT))
    place = (int(rng.integers(WIDTH - side)), int(rng.integers(HEIGHT - side)))
    page.paste(Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC), place)
    return np.asarray(page, float) / 255


def photograph(ink: np.ndarray, lit: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Photograph a page: grey values, 0 to 255, of the shape of the ink."""
    exact = ((PAPER + (PEN - PAPER) * ink) * lit).astype(np.uint8)
    blurred = np.asarray(Image.fromarray(exact).filter(ImageFilter.GaussianBlur(1)), float)
    noisy = blurred + rng.normal(0, NOISE, ink.shape)
    file = io.BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=QUALITY)
    return np.asarray(Image.open(file), float)


def framed(ink: np.ndarray, margin: int) -> np.ndarray:
    """Draw a frame around the ink, the margin away from it but never on the border of the page."""
    rows, columns = (np.flatnonzero((ink > 0.1).any(axis)) for axis in (1, 0))
    left, top = max(int(columns[0]) - margin, 8), max(int(rows[0]) - margin, 8)
    right, bottom = min(int(columns[-1]) + margin, WIDTH - 9), min(int(rows[-1]) + margin, HEIGHT - 9)
    page = Image.fromarray((ink * 255).astype(np.uint8))
    ImageDraw.Draw(page).rectangle((left, top, right, bottom), outline=255, width=4)
    return np.asarray(page, float) / 255


def ruled(ink: np.ndarray, gap: int, strength: float) -> np.ndarray:
    """Rule the page with lines of two pixels."""
    lines = np.zeros_like(ink)
    lines[gap // 2 :: gap] = lines[gap // 2 + 1 :: gap] = strength
    return np.maximum(ink, lines)


# From a digit's ink, 0 to 1, to a page with more or less ink.
Change = Callable[[np.ndarray], np.ndarray]
CHANGES: dict[str, Change] = {
    "faint ruled lines": partial(ruled, gap=40, strength=0.3),
    "dark ruled lines": partial(ruled, gap=40, strength=0.8),
    "frame around the digit": partial(framed, margin=20),
    "frame through the digit": partial(framed, margin=-15),
    "digit cut off by the border": lambda ink: ink[:, int(np.flatnonzero(ink.any(0))[0]) + 30 :],
}


def scenes() -> Iterator[tuple[str, np.ndarray, Change]]:
    """Names, how the light falls, and what is changed on the page."""
    for kind, fall in [("even", 0.0), *itertools.product(list(SHADES)[1:], (0.3, 0.5))]:
        yield f"light {kind}, falling by {fall:.0%}", light(kind, fall), lambda ink: ink
    for name, change in CHANGES.items():
        yield name, light("even", 0), change


def main() -> None:
    """Print how many of DIGITS test images are read, read wrongly, and refused, in each scene."""
    test = load_examples(Path("data/MNIST"), "test")
    for name, lit, change in scenes():
        rng = np.random.default_rng(0)
        digits, labels = [], []
        for image, label in zip(test.images[:DIGITS], test.labels, strict=False):
            ink = change(on_page(image, rng))
            try:
                digits.append(like_mnist(photograph(ink, lit[:, : ink.shape[1]], rng), name))
                labels.append(int(label))
            except UserError:
                continue
        answers = predict(digits, MODEL) if digits else []
        wrong = [confidence for (digit, confidence), label in zip(answers, labels, strict=True) if digit != label]
        print(
            f"{name:32} {len(digits) - len(wrong):3} read, {len(wrong)} wrong, {DIGITS - len(digits)} refused"
            + (f"; confidence when wrong at most {max(wrong):.0%}" if wrong else "")
        )


if __name__ == "__main__":
    main()
