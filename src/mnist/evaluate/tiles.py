"""The digits of a table's rows in one small image, so that git alone is enough to see them."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from src.core.files import write_bytes

TILE_PIXELS = 28  # width and height of one digit
COLUMNS = 20
MAX_TILES = 1000  # about 250 KB; without a limit, a network that learned nothing would add megabytes to git


def draw_tiles(images: np.ndarray, path: Path) -> None:
    """Write digits as dark ink on white, 20 per row, without borders, as a greyscale PNG.

    Args:
        images: uint8 of shape (N, 28, 28); N may be 0. Only the first 1000 are drawn.
        path: Where to write the PNG. Its bytes depend only on the images and on Pillow's version.
    """
    shown = images[:MAX_TILES]
    rows = max(1, -(-len(shown) // COLUMNS))  # a PNG cannot be empty
    tiles = np.zeros((rows * COLUMNS, TILE_PIXELS, TILE_PIXELS), np.uint8)
    tiles[: len(shown)] = shown
    grid = tiles.reshape(rows, COLUMNS, TILE_PIXELS, TILE_PIXELS).swapaxes(1, 2)
    write_image(Image.fromarray(255 - grid.reshape(rows * TILE_PIXELS, COLUMNS * TILE_PIXELS)), path)


def write_image(image: Image.Image, path: Path) -> None:
    """Write a picture as PNG, atomically; the bytes depend only on the picture and on Pillow's version."""
    content = io.BytesIO()
    image.save(content, "PNG", optimize=True)
    write_bytes(path, content.getvalue())
