"""How many pictures are read: `python -m benchmarks.pictures`, with the model and the data in the tree.

The photographs are simulated: test images drawn on grey paper, lit, blurred, with noise, saved as JPEG. A picture with
no digit, or with several, is wrong if the model reads it without doubt.
"""

import io
import itertools
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
from matplotlib import get_data_path
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from scipy import ndimage

from src.core.errors import UserError
from src.mnist.data.dataset import DATA_DIR, NUM_CLASSES, load_examples
from src.mnist.model.split import split_indices
from src.mnist.model.weights import MODEL_PATH
from src.mnist.predict.__main__ import Answer, predict
from src.mnist.predict.images import Digit, like_mnist

HEIGHT, WIDTH = 400, 500
PAPER, PEN = 205, 50
NOISE = 4.0
QUALITY = 85
PICTURES = 200
FONT = Path(get_data_path()) / "fonts/ttf/DejaVuSans.ttf"
SYMBOLS = "AKXHMRTW+?#\N{CHECK MARK}"

Y, X = np.meshgrid(np.linspace(0, 1, HEIGHT), np.linspace(0, 1, WIDTH), indexing="ij")
# How brightness falls across the page, 0 to 1; `corners` shades all four corners, `corner` shades one.
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
    """Enlarge a digit, shape (28, 28), 0 to 255, and place it at random on a page; returns ink, 0 to 1."""
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
    """Draw a frame around the ink at a distance of `margin`, but never on the border of the page."""
    rows, columns = (np.flatnonzero((ink > 0.1).any(axis)) for axis in (1, 0))
    left, top = max(int(columns[0]) - margin, 8), max(int(rows[0]) - margin, 8)
    right, bottom = min(int(columns[-1]) + margin, WIDTH - 9), min(int(rows[-1]) + margin, HEIGHT - 9)
    page = Image.fromarray((ink * 255).astype(np.uint8))
    ImageDraw.Draw(page).rectangle((left, top, max(left, right), max(top, bottom)), outline=255, width=4)
    return np.asarray(page, float) / 255


def ruled(ink: np.ndarray, gap: int, strength: float) -> np.ndarray:
    """Rule the page with lines that are two pixels wide."""
    lines = np.zeros_like(ink)
    lines[gap // 2 :: gap] = lines[gap // 2 + 1 :: gap] = strength
    return np.maximum(ink, lines)


def cropped(ink: np.ndarray) -> np.ndarray:
    """Crop a page to its ink."""
    rows, columns = (np.flatnonzero((ink > 0.1).any(axis)) for axis in (1, 0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def on_paper(ink: np.ndarray) -> np.ndarray:
    """Put paper on all sides of the ink."""
    return np.pad(cropped(ink), 60)


def together(one: np.ndarray, other: np.ndarray, overlap: float = 0.0) -> np.ndarray:
    """Put two digits side by side so that they touch, or overlap by a share of the smaller width."""
    one, other = cropped(one), cropped(other)
    height = min(len(one), len(other))
    one, other = (
        np.asarray(Image.fromarray(ink).resize((round(ink.shape[1] * height / len(ink)), height)))
        for ink in (one, other)
    )
    most = min(one.shape[1], other.shape[1])
    for step in range(most):
        page = _beside(one, other, step)
        # Ignore dust.
        _, sizes = np.unique_counts(ndimage.label(page > 0.4, np.ones((3, 3)))[0])
        if np.sum(sizes > 60) == 2:
            return on_paper(_beside(one, other, min(step + round(overlap * most), most)))
    return on_paper(page)


def _beside(one: np.ndarray, other: np.ndarray, overlap: int) -> np.ndarray:
    width = one.shape[1] + other.shape[1] - overlap
    left = np.pad(one, ((0, 0), (0, width - one.shape[1])))
    return np.maximum(left, np.pad(other, ((0, 0), (width - other.shape[1], 0))))


def drawn(ink: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Draw a line through points (x, y), given as shares of the digit's width and height."""
    page = Image.fromarray((on_paper(ink) * 255).astype(np.uint8))
    size = np.array(page.size) - 120
    ImageDraw.Draw(page).line([tuple(point) for point in 60 + points * size], fill=255, width=12, joint="curve")
    return np.asarray(page, float) / 255


def symbol(rng: np.random.Generator) -> np.ndarray:
    """Draw a letter or sign, slightly rotated."""
    page = Image.new("L", (400, 400))
    font = ImageFont.truetype(FONT, int(rng.integers(120, 220)))
    ImageDraw.Draw(page).text((200, 200), SYMBOLS[rng.integers(len(SYMBOLS))], fill=255, font=font, anchor="mm")
    return on_paper(np.asarray(page.rotate(rng.uniform(-8, 8)), float) / 255)


def thinned(ink: np.ndarray) -> np.ndarray:
    """Thin each stroke to less than half its width."""
    depth = ndimage.distance_transform_edt(ink > 0.5)
    return np.where(depth > 0.6 * ndimage.maximum_filter(depth, 21), 1.0, 0.0)


def shadowed(ink: np.ndarray) -> np.ndarray:
    """Add a soft shadow, half as dark, below and to the right."""
    return np.maximum(ink, 0.5 * ndimage.gaussian_filter(np.roll(ink, (10, 10), (0, 1)), 4))


# Maps the ink of two digits, 0 to 1, to the ink of a page. On READABLE pages, the first digit is the right answer.
Change = Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]
READABLE: dict[str, Change] = {
    "faint ruled lines": lambda ink, *_: ruled(ink, 40, 0.3),
    "dark ruled lines": lambda ink, *_: ruled(ink, 40, 0.8),
    "thin pen": lambda ink, *_: thinned(ink),
    "thick pen": lambda ink, *_: ndimage.grey_dilation(ink, 15),
    "drop shadow": lambda ink, *_: shadowed(ink),
    "frame around the digit": lambda ink, *_: framed(ink, 20),
    "frame through the digit": lambda ink, *_: framed(ink, -15),
}
UNREADABLE: dict[str, Change] = {
    "digit cut off by the border": lambda ink, *_: ink[:, int(np.flatnonzero(ink.any(0))[0]) + 30 :],
    "half a digit": lambda ink, *_: on_paper(cropped(ink)[: len(cropped(ink)) // 2]),
    "two digits side by side, touching": lambda ink, other, _: together(ink, other),
    "two digits stacked, touching": lambda ink, other, _: together(ink.T, other.T).T,
    "two digits side by side, overlapping": lambda ink, other, _: together(ink, other, 0.3),
    "two digits stacked, overlapping": lambda ink, other, _: together(ink.T, other.T, 0.15).T,
    "struck through": lambda ink, *_: drawn(ink, np.array([(-0.15, 0.5), (1.15, 0.5)])),
    "crossed out": lambda ink, *_: drawn(drawn(ink, np.array([(-0.1, 0), (1.1, 1)])), np.array([(0.0, 1), (1.0, 0)])),
    "scribbled over": lambda ink, _, rng: drawn(ink, rng.uniform(-0.1, 1.1, (8, 2))),
    "circled": lambda ink, *_: drawn(
        ink, 0.5 + 0.65 * np.array([(np.cos(angle), np.sin(angle)) for angle in np.linspace(0, 2 * np.pi, 60)])
    ),
    "letter or sign": lambda _, __, rng: symbol(rng),
    "upside down": lambda ink, *_: ink[::-1, ::-1],
    "turned by 90 degrees": lambda ink, *_: np.rot90(ink),
}


def scenes() -> Iterator[tuple[str, np.ndarray | None, Change, bool]]:
    """Yield scenes: name, brightness (None if even), change of the page, and whether the digit is still readable."""
    yield "even light", None, lambda ink, *_: ink, True
    for kind, fall in itertools.product(list(SHADES)[1:], (0.3, 0.5)):
        yield f"light {kind}, falling by {fall:.0%}", light(kind, fall), lambda ink, *_: ink, True
    for is_readable, changes in ((True, READABLE), (False, UNREADABLE)):
        for name, change in changes.items():
            yield name, None, change, is_readable


def report(name: str, digits: list[Digit], labels: list[int | None], refused: int) -> None:
    """Print how many pictures are right, wrong, doubtful and refused; the label None means that there is no digit."""
    answers: list[Answer] = predict(digits, MODEL_PATH) if digits else []
    doubtful = sum(answer.doubt is not None for answer in answers)
    wrong = [one.confidence for one, label in zip(answers, labels, strict=True) if not one.doubt and one.digit != label]
    print(
        f"{name:36} {len(digits) - doubtful - len(wrong):5} right, {len(wrong):3} wrong, {doubtful:3} doubtful, "
        f"{refused:3} refused"
        + (f"; when wrong {np.median(wrong):.0%} sure, at most {max(wrong):.1%}" if wrong else "")
    )


def as_they_are(name: str, images: np.ndarray, labels: np.ndarray) -> list[tuple[Digit, int]]:
    """Report images in MNIST's format; returns those that are not refused, with their labels."""
    pairs = []
    for image, label in zip(images, labels, strict=True):
        with suppress(UserError):
            pairs.append((like_mnist(image.astype(float), name), int(label)))
    report(name, [digit for digit, _ in pairs], [label for _, label in pairs], len(images) - len(pairs))
    return pairs


def limits(pairs: list[tuple[Digit, int]]) -> None:
    """Print the crossings that one in 500 images of each digit exceeds."""
    for label in range(NUM_CLASSES):
        crossings = [digit.crossings for digit, other in pairs if other == label]
        rows, columns = np.quantile(crossings, 0.998, axis=0)
        print(f"  a {label}: rows cross {rows:.2f} strokes, columns {columns:.2f}")


def main() -> None:
    """Print the results for all validation and test images, and for PICTURES photographs of each scene."""
    train = load_examples(DATA_DIR, "train")
    _, val = split_indices(train.labels, 0.1, 0)
    limits(as_they_are("validation images", train.images[val], train.labels[val]))
    test = load_examples(DATA_DIR, "test")
    as_they_are("test images", test.images, test.labels)
    for name, lit, change, is_readable in scenes():
        rng = np.random.default_rng(0)
        digits: list[Digit] = []
        labels: list[int | None] = []
        for number in range(PICTURES):
            first, second = (on_page(test.images[index], rng) for index in (number, number + PICTURES))
            ink = change(first, second, rng)
            try:
                digits.append(like_mnist(photograph(ink, np.ones(ink.shape) if lit is None else lit, rng), name))
                labels.append(int(test.labels[number]) if is_readable else None)
            except UserError:
                continue
        report(name, digits, labels, PICTURES - len(digits))


if __name__ == "__main__":
    main()
