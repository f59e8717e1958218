"""Detection of one digit's strokes, as opposed to specks, shadows, a frame, ruled lines and a second digit."""

import numpy as np
from scipy import ndimage

from src.core.errors import UserError

# Shares of the strongest ink: a stroke extends to where its ink is FAINT; shadows and faint lines stay below STRONG.
FAINT, STRONG = 0.25, 0.5
# Parts smaller than this share of the largest stroke are dust.
SPECK = 0.1
# The limits below were measured on 40,000 images of MNIST. Each rule rejects fewer than one in 1,000 of them.
# Maximum distance of a detached stroke, as a share of the largest stroke.
GAP = 0.25
# Height of a detached part, as a share of the other's, above which it is a second digit beside or below it.
BESIDE, BELOW = 0.5, 0.6
# Share of its bounding box that a stroke with its holes fills: 0.86 for the squarest 0, 1 for a frame.
FRAME = 0.88
CONNECTED = np.ones((3, 3))

Box = tuple[slice, slice]


def find_strokes(ink: np.ndarray, name: str, may_reach_border: bool = False) -> np.ndarray:
    """Find the one digit in a picture.

    Args:
        ink: Shape (H, W), 0 to 1, more than 0 somewhere.
        name: Name of the picture in error messages.
        may_reach_border: Whether to accept ink at the border, which usually means that the digit is cut off.

    Returns:
        Booleans of shape (H, W), true on the strokes.

    Raises:
        UserError: If the picture shows a frame, lines, several digits, or only a part of one.
    """
    labels, count = ndimage.label(ink > FAINT * ink.max(), CONNECTED)
    boxes: list[Box] = ndimage.find_objects(labels)
    peaks = ndimage.maximum(ink, labels, range(1, count + 1))
    strong = [number for number in range(count) if peaks[number] > STRONG * ink.max()]
    largest, *others = sorted(strong, key=lambda number: -_extent(boxes[number]))
    others = [number for number in others if _extent(boxes[number]) > SPECK * _extent(boxes[largest])]
    strokes: np.ndarray = np.isin(labels, [number + 1 for number in (largest, *others)])
    if not may_reach_border and any(edge.any() for edge in (strokes[0], strokes[-1], strokes[:, 0], strokes[:, -1])):
        raise UserError(f"{name}: ink, lines or a shadow reach the border; expected one digit with paper on all sides")
    drawn = labels == largest + 1
    filled = ndimage.binary_fill_holes(drawn)
    if filled.sum() > 1.1 * drawn.sum() and filled[boxes[largest]].mean() > FRAME:
        raise UserError(f"{name}: shows a frame; expected one digit on bare paper")
    if any(_are_apart(boxes[largest], boxes[other]) for other in others):
        raise UserError(f"{name}: shows more than one digit; expected one digit in each picture")
    return strokes


def crossings(strokes: np.ndarray) -> tuple[float, float]:
    """Mean number of strokes that a row, and that a column, crosses.

    Args:
        strokes: Booleans of shape (H, W), true on the strokes, cropped to them.
    """
    # Along a row or column, each crossed stroke starts once.
    starts = (np.diff(strokes.astype(np.int8), axis=axis, prepend=0) == 1 for axis in (1, 0))
    rows, columns = (int(one.sum()) / lines for one, lines in zip(starts, strokes.shape, strict=True))
    return rows, columns


def stroke_width(strokes: np.ndarray) -> float:
    """Width of strokes in pixels: a line's area is its length times its width, and its rim is twice its length."""
    rim = strokes & ~ndimage.binary_erosion(strokes)
    return 2 * int(strokes.sum()) / int(rim.sum())


def _extent(box: Box) -> int:
    return max(part.stop - part.start for part in box)


def _are_apart(one: Box, other: Box) -> bool:
    """Whether two strokes are too far apart, or too similar in height, to be parts of one digit."""
    extent = _extent(one)
    below, beside = ((max(a.start, b.start) - min(a.stop, b.stop)) / extent for a, b in zip(one, other, strict=True))
    heights = sorted(box[0].stop - box[0].start for box in (one, other))
    alike = heights[0] / heights[1]
    return max(below, beside) > GAP or (beside > -0.1 and alike > BESIDE) or (below > -0.05 and alike > BELOW)
