"""Small digits side by side in one picture, so that a table's rows can be seen from git alone."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from src.core.files import write_bytes

TILE_PIXELS = 28  # width and height of one digit
COLUMNS = 20
MAX_TILES = 1000  # about 250 KB; a network that learned nothing would otherwise put megabytes into git


def draw_tiles(images: np.ndarray, path: Path) -> None:
    """Write digits as dark ink on white, 20 in a row, row after row, without a border, as a grey PNG.

    Args:
        images: uint8 of shape (N, 28, 28); N may be 0. Those after the first 1000 are left out.
        path: Where the picture goes. Its bytes depend on the images and on Pillow's version alone.
    """
    shown = images[:MAX_TILES]
    rows = max(1, -(-len(shown) // COLUMNS))  # a PNG cannot be empty
    tiles = np.zeros((rows * COLUMNS, TILE_PIXELS, TILE_PIXELS), np.uint8)
    tiles[: len(shown)] = shown
    grid = tiles.reshape(rows, COLUMNS, TILE_PIXELS, TILE_PIXELS).swapaxes(1, 2)
    content = io.BytesIO()
    Image.fromarray(255 - grid.reshape(rows * TILE_PIXELS, COLUMNS * TILE_PIXELS)).save(content, "PNG", optimize=True)
    write_bytes(path, content.getvalue())
