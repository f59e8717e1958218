"""Pictures of misclassified digits: dark ink on white, as greyscale PNG.

A picture's bytes depend only on what is drawn and on the versions of Pillow and torchvision.
"""

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torchvision.transforms.functional import InterpolationMode, pad, resize, to_pil_image
from torchvision.utils import make_grid

from src.core.files import write_bytes

WHITE = 255
TILE_COLUMNS, MAX_TILES = 20, 1000  # about 250 KB; without a limit, a network that learned nothing would add megabytes
# Pixels, apart from the columns.
COLUMNS, DIGIT, CELL_WIDTH, CELL_HEIGHT, CAPTION_HEIGHT = 10, 84, 114, 118, 44
TITLE_SIZE, CAPTION_SIZE = 14, 18


def draw_tiles(images: np.ndarray, path: Path) -> None:
    """Write digits without borders, 20 per row, so that git alone is enough to see them.

    Args:
        images: uint8 of shape (N, 28, 28); N may be 0. Only the first 1000 are drawn.
        path: Where to write the PNG.
    """
    _write(_grid(_on_white(images[:MAX_TILES]), TILE_COLUMNS), path)


def draw_errors(images: np.ndarray, titles: list[str], caption: str, path: Path) -> None:
    """Write a grid of digits, ten in a row, each below its title.

    Args:
        images: uint8 of shape (N, 28, 28); N may be 0.
        titles: N titles of one line.
        caption: Heading of the grid.
        path: Where to write the PNG.
    """
    if len(images) != len(titles):
        raise ValueError(f"expected a title for each of {len(images)} images, got {len(titles)}")
    digits = resize(_on_white(images), [DIGIT, DIGIT], InterpolationMode.NEAREST)
    side, above = (CELL_WIDTH - DIGIT) // 2, TITLE_SIZE + 4
    cells = pad(digits, [side, above, side, CELL_HEIGHT - above - DIGIT], fill=WHITE)
    picture = to_pil_image(pad(_grid(cells, COLUMNS), [0, CAPTION_HEIGHT, 0, 0], fill=WHITE))
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(TITLE_SIZE)
    heading = (picture.width // 2, CAPTION_HEIGHT // 2)
    draw.text(heading, caption, "black", ImageFont.load_default(CAPTION_SIZE), anchor="mm")
    for position, title in enumerate(titles):
        row, column = divmod(position, COLUMNS)
        middle = (column * CELL_WIDTH + CELL_WIDTH // 2, CAPTION_HEIGHT + row * CELL_HEIGHT)
        draw.text(middle, title, "black", font, anchor="ma")
    _write(picture, path)


def _on_white(images: np.ndarray) -> Tensor:
    """Dark ink on white, uint8 of shape (N, 1, 28, 28); at least one image, since a picture cannot be empty."""
    shown = images if len(images) else np.zeros((1, 28, 28), np.uint8)
    return WHITE - torch.tensor(shown).unsqueeze(1)


def _grid(cells: Tensor, columns: int) -> Tensor:
    """Cells (N, 1, H, W) side by side in full rows, uint8 of shape (1, rows * H, columns * W)."""
    missing = -len(cells) % columns
    blank = torch.full((missing, *cells.shape[1:]), WHITE, dtype=torch.uint8)
    return make_grid(torch.cat([cells, blank]), nrow=columns, padding=0)[:1]


def _write(picture: Image.Image | Tensor, path: Path) -> None:
    content = io.BytesIO()
    image = to_pil_image(picture) if isinstance(picture, Tensor) else picture
    image.save(content, "PNG", optimize=True)
    write_bytes(path, content.getvalue())
