"""Ink on unevenly lit paper: how much darker (or lighter) each pixel is than the paper around it."""

import numpy as np
from PIL import Image
from scipy import ndimage

# The paper is estimated on a thumbnail of at most this many pixels a side.
THUMBNAIL = 64
# Width of the closing, as a share of the longer side; it removes all ink, because no stroke is as wide.
WINDOW = 0.3
# Rounds of the surface fit, each of which excludes pixels far from the surface. It converges in three or four.
ROUNDS = 8
# Camera noise: how far a pixel of paper deviates from the surface, in grey levels of 255.
NOISE = 4


def find_ink(pixels: np.ndarray) -> tuple[np.ndarray, float]:
    """Divide a picture by the brightness of its paper.

    Light ink on dark paper is inverted first. Illumination scales paper and ink alike, so it cancels in the quotient.

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

    A quadratic surface follows the light of a lamp or a window; grey closing (Serra, 1982) follows smaller shadows.
    Opening does the same for light ink on dark paper. The smoother of the two results is the paper.
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
    """Fit a quadratic surface to the border, and then to all pixels near the surface."""
    y, x = np.meshgrid(*(np.linspace(-1, 1, side) for side in pixels.shape), indexing="ij")
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)
    is_paper = np.ones(pixels.shape, bool)
    is_paper[1:-1, 1:-1] = False
    for _ in range(ROUNDS):
        chosen = terms[is_paper]
        # The normal equations are fast and well conditioned here; a picture of one row leaves terms undetermined, which
        # `lstsq` allows.
        surface: np.ndarray = terms @ np.linalg.lstsq(chosen.T @ chosen, chosen.T @ pixels[is_paper])[0]
        distance = np.abs(pixels - surface)
        is_paper = distance <= max(NOISE, 2.5 * np.median(distance[is_paper]))
    return surface


def _variation(pixels: np.ndarray) -> float:
    """Total variation: the sum of absolute differences between neighbours."""
    return sum(float(np.abs(np.diff(pixels, axis=axis)).sum()) for axis in (0, 1))
