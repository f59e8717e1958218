"""Conversion of pictures of a digit to the format of MNIST's images."""

import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from scipy import ndimage

from src.core.errors import UserError
from src.mnist.data.dataset import IMAGE_SHAPE
from src.mnist.predict.ink import find_ink
from src.mnist.predict.strokes import STRONG, crossings, find_strokes, stroke_width

# MNIST's digits were scaled to fit 20 x 20 pixels, with their centre of mass in the middle of 28 x 28 (LeCun, Cortes
# and Burges, the MNIST page).
BOX = 20
# Minimum contrast between paper and ink, in grey levels of 255, for a picture to show a digit.
MIN_CONTRAST = 32
# Larger pictures are reduced first; a digit that covers 2% of the longer side then still has MNIST's resolution.
MAX_SIDE = 1024
# Divisors of the longer side: the scale of grain to smooth before strokes are detected, and of their soft edges.
GRAIN, EDGE = 300, 100
# Minimum width of MNIST's strokes, as a share of the digit's longer side. Thinner ones would vanish in scaling.
THINNEST = 0.1
# No others: Pillow has some rarely used readers, and runs Ghostscript for EPS.
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")
# Exceptions that Pillow's readers raise on damaged files.
UNREADABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning)


class Digit(NamedTuple):
    """A digit in MNIST's format."""

    # uint8 of shape (28, 28), light ink on 0.
    image: np.ndarray
    # Mean number of strokes that a row, and that a column, of the digit in the picture crosses.
    crossings: tuple[float, float]


def read_digit(path: Path) -> Digit:
    """Read a picture of one digit.

    Args:
        path: A file in one of FORMATS, of any size, dark on light or light on dark. Only an animation's first frame is
            read.

    Raises:
        UserError: If the file cannot be read, is damaged, or does not show one digit.
    """
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            # Pillow warns above 89 million pixels, and raises above twice as many.
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            # Only `verify` tests the checksums of a PNG.
            Image.open(file, formats=FORMATS).verify()
            file.seek(0)
            with Image.open(file, formats=FORMATS) as image:
                pixels = _grey(ImageOps.exif_transpose(image))
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except UNREADABLE as error:
        if isinstance(error, UnidentifiedImageError):
            reason = f"expected {', '.join(FORMATS)}"
        else:
            reason = " ".join(str(getattr(error, "strerror", None) or error).split())
        raise UserError(f"{path}: is not a picture that can be read ({reason})") from error
    return like_mnist(pixels, str(path))


def _grey(image: Image.Image) -> np.ndarray:
    """Convert to float64 (H, W), 0 to 255; transparency becomes white if the rest is dark, otherwise black."""
    if image.mode.startswith("I;16"):
        # Pillow would clip values above 255.
        image = Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
    elif image.mode in ("I", "F"):
        # Pillow reads most files of more than 8 bits as 32.
        raise ValueError("its grey values have too many bits; save it with 8")
    image = image.convert("LA")
    image = image.reduce(-(-max(image.size) // MAX_SIDE))
    grey, alpha = (np.asarray(band, float) for band in image.split())
    share = alpha / 255
    light = (grey * share).sum() > 127 * share.sum()
    return grey * share + (0 if light else 255) * (1 - share)


def like_mnist(pixels: np.ndarray, name: str) -> Digit:
    """Find the digit, and invert, crop, thicken, scale and centre it.

    Args:
        pixels: Grey values, shape (H, W), 0 to 255. The border shows the paper.
        name: Name of the picture in error messages.

    Raises:
        UserError: If nothing stands out from the paper, or if it is not exactly one digit.
    """
    ink, contrast = find_ink(pixels)
    # Removes grain of paper and camera; a picture of MNIST's size is unchanged.
    smooth = ndimage.gaussian_filter(ink, max(ink.shape) / GRAIN)
    if contrast < MIN_CONTRAST:
        raise UserError(f"{name}: shows no digit: expected ink that stands out from the paper by {MIN_CONTRAST} of 255")
    # MNIST centres digits by mass, so a few of its own images reach the border.
    strokes = find_strokes(smooth, name, may_reach_border=ink.shape == IMAGE_SHAPE)
    # Include the soft edges of the strokes.
    around = ndimage.binary_dilation(strokes, iterations=-(-max(ink.shape) // EDGE))
    rows, columns = (np.flatnonzero(strokes.any(axis)) for axis in (1, 0))
    box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    crossed = crossings((strokes & (smooth > STRONG * smooth.max()))[box])
    digit = _thickened((ink * around)[box])
    scale = BOX / max(digit.shape)
    height, width = (max(1, round(side * scale)) for side in digit.shape)
    grey = Image.fromarray((digit * (255 / digit.max())).round().astype(np.uint8))
    small = np.asarray(grey.resize((width, height), Image.Resampling.BOX))
    return Digit(_centred(small), crossed)


def _thickened(digit: np.ndarray) -> np.ndarray:
    """Widen thin strokes to the minimum width of MNIST's."""
    missing = round(THINNEST * max(digit.shape) - stroke_width(digit > STRONG * digit.max()))
    if missing < 1:
        return digit
    return ndimage.grey_dilation(np.pad(digit, -(-missing // 2)), size=missing + 1)


def _centred(digit: np.ndarray) -> np.ndarray:
    """Put a digit's centre of mass in the middle, as far as the digit fits."""
    canvas = np.zeros(IMAGE_SHAPE, np.uint8)
    # Measured from the image's edge; `center_of_mass` measures from the middle of the first pixel.
    centres = (middle + 0.5 for middle in ndimage.center_of_mass(digit))
    top, left = (
        int(np.clip(round(room / 2 - centre), 0, room - side))
        for centre, side, room in zip(centres, digit.shape, IMAGE_SHAPE, strict=True)
    )
    canvas[top : top + digit.shape[0], left : left + digit.shape[1]] = digit
    return canvas
