"""The worst errors in one picture, each with what it was taken for."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from src.mnist.evaluate.tiles import TILE_PIXELS, write_image

COLUMNS = 10
ZOOM = 3
DIGIT = ZOOM * TILE_PIXELS
# Pixels of the picture.
CELL_WIDTH, CELL_HEIGHT, CAPTION_HEIGHT = 114, 118, 44
TITLE_SIZE, CAPTION_SIZE = 14, 18


def draw_errors(images: np.ndarray, titles: list[str], caption: str, path: Path) -> None:
    """Write a grid of digits, dark ink on white, ten in a row, each below its title, as a greyscale PNG.

    Args:
        images: uint8 of shape (N, 28, 28); N may be 0.
        titles: N titles of one line.
        caption: Heading of the grid.
        path: Where to write the PNG. Its bytes depend only on what is drawn and on Pillow's version.
    """
    rows = max(1, -(-len(images) // COLUMNS))
    grid = Image.new("L", (COLUMNS * CELL_WIDTH, CAPTION_HEIGHT + rows * CELL_HEIGHT), "white")
    draw = ImageDraw.Draw(grid)
    draw.text(
        (grid.width // 2, CAPTION_HEIGHT // 2), caption, "black", ImageFont.load_default(CAPTION_SIZE), anchor="mm"
    )
    font = ImageFont.load_default(TITLE_SIZE)
    for position, (image, title) in enumerate(zip(images, titles, strict=True)):
        row, column = divmod(position, COLUMNS)
        middle, top = column * CELL_WIDTH + CELL_WIDTH // 2, CAPTION_HEIGHT + row * CELL_HEIGHT
        draw.text((middle, top), title, "black", font, anchor="ma")
        digit = Image.fromarray(255 - image).resize((DIGIT, DIGIT), Image.Resampling.NEAREST)
        grid.paste(digit, (middle - DIGIT // 2, top + TITLE_SIZE + 4))
    write_image(grid, path)
