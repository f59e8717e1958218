"""An image of the misclassified digits with their titles, small enough to commit to git."""

import io
from pathlib import Path

import numpy as np
import torch
from PIL import ImageDraw, ImageFont
from torchvision.transforms.functional import InterpolationMode, pad, resize, to_pil_image
from torchvision.utils import make_grid

from src.core.files import write_bytes

WHITE = 255
# Pixels per cell and cells per row; metrics_policy.yaml repeats both for the report.
SIDE, COLUMNS = 112, 10
DIGIT, TITLE_SIZE, MARGIN = 84, 14, 18
# About 100 KB. Without a limit, a network that learned nothing would add megabytes to git.
MAX_ERRORS = 200


def draw_errors(images: np.ndarray, titles: list[str], path: Path) -> None:
    """Draw digits as dark ink on white, ten per row, and write a greyscale PNG.

    Args:
        images: uint8 of shape (N, 28, 28); N may be 0. Only the first 200 are drawn.
        titles: One line of text per image.
        path: Output file. Its bytes depend only on images, titles and the versions of Pillow and torchvision.
    """
    shown = images[:MAX_ERRORS]
    # Whole rows, and at least one, since an image cannot be empty.
    cells = np.zeros((max(1, -(-len(shown) // COLUMNS)) * COLUMNS, *images.shape[1:]), np.uint8)
    cells[: len(shown)] = shown
    digits = resize(WHITE - torch.from_numpy(cells).unsqueeze(1), [DIGIT, DIGIT], InterpolationMode.NEAREST)
    side = (SIDE - DIGIT) // 2
    padded = pad(digits, [side, MARGIN, side, SIDE - MARGIN - DIGIT], fill=WHITE)
    picture = to_pil_image(make_grid(padded, nrow=COLUMNS, padding=0)[:1])
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(TITLE_SIZE)
    for position, title in enumerate(titles[:MAX_ERRORS]):
        row, column = divmod(position, COLUMNS)
        draw.text((column * SIDE + SIDE // 2, row * SIDE + 2), title, "black", font, anchor="ma")
    content = io.BytesIO()
    picture.save(content, "PNG", optimize=True)
    write_bytes(path, content.getvalue())
