"""Ink on paper that is lit unevenly: how much darker (or lighter) each pixel is than the paper there."""

import numpy as np
from PIL import Image
from scipy import ndimage

# The paper is estimated on a thumbnail of at most this many pixels a side.
THUMBNAIL = 64
# Share of the longer side that is wider than any stroke, so that a closing of this width removes all ink.
WINDOW = 0.3
# Rounds of the fit in which pixels far from the surface are left out. It settles in three or four.
ROUNDS = 8
# What camera noise alone makes a pixel differ from the paper, in grey levels of 255.
NOISE = 4


def find_ink(pixels: np.ndarray) -> tuple[np.ndarray, float]:
    """Divide a picture by the brightness of its paper.

    Light on dark is inverted first. Light multiplies what paper and ink reflect, so the quotient is free of it.

    Args:
        pixels: Grey values, shape (H, W), 0 to 255. The border shows the paper.

    Returns:
        Ink, shape (H, W), from 0 for paper to 1 for black, and its strongest contrast in grey levels.
    """
    size = pixels.shape[::-1]
    thumbnail = np.asarray(Image.fromarray(pixels.astype(np.float32)).reduce(-(-max(size) // THUMBNAIL)), float)
    paper, is_dark = _paper(thumbnail)
    if is_dark:
        pixels, paper = 255 - pixels, 255 - paper
    paper = np.asarray(Image.fromarray(paper.astype(np.float32)).resize(size, Image.Resampling.BILINEAR), float)
    return np.clip(1 - pixels / np.maximum(paper, 1), 0, 1), float((paper - pixels).max())


def _paper(pixels: np.ndarray) -> tuple[np.ndarray, bool]:
    """Brightness of the paper at each pixel, and whether it is darker than the ink.

    A quadratic surface follows the light of a lamp or a window; grey closing (Serra, 1982) follows smaller shades.
    Opening does the same for light ink on dark paper. The paper is the smoother of the two.
    """
    surface = _surface(pixels)
    width = round(WINDOW * max(pixels.shape)) | 1
    rest = np.pad(ndimage.gaussian_filter(pixels - surface, max(pixels.shape) / THUMBNAIL), width, mode="edge")
    inside = (slice(width, -width), slice(width, -width))
    above, below = (
        surface + morphology(rest, width)[inside] for morphology in (ndimage.grey_closing, ndimage.grey_opening)
    )
    is_dark = _variation(below) < _variation(above)
    return (below if is_dark else above), is_dark


def _surface(pixels: np.ndarray) -> np.ndarray:
    """A quadratic surface through the border and through everything that turns out to be near it."""
    y, x = np.meshgrid(*(np.linspace(-1, 1, side) for side in pixels.shape), indexing="ij")
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)
    is_paper = np.ones(pixels.shape, bool)
    is_paper[1:-1, 1:-1] = False
    for _ in range(ROUNDS):
        chosen = terms[is_paper]
        # The normal equations are fast and well conditioned here; a picture of one row leaves terms undetermined.
        surface: np.ndarray = terms @ np.linalg.lstsq(chosen.T @ chosen, chosen.T @ pixels[is_paper])[0]
        distance = np.abs(pixels - surface)
        is_paper = distance <= max(NOISE, 2.5 * np.median(distance[is_paper]))
    return surface


def _variation(pixels: np.ndarray) -> float:
    """Total variation: the sum of all differences between neighbours."""
    return sum(float(np.abs(np.diff(pixels, axis=axis)).sum()) for axis in (0, 1))
