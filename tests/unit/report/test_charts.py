import math
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from ruamel.yaml import YAML

from src.mnist.evaluate.pictures import draw_errors
from src.report.comment import sparklines
from src.report.page import is_usable, tiles
from src.report.policy import Pictures
from src.report.tables import Mistake
from tests.conftest import REPOSITORY

PICTURES = Pictures(file="tiles.png", side=28, columns=20)


def mistake(position: int, predicted: str = "2") -> Mistake:
    return Mistake(position=position, index=5, actual="1", predicted=predicted)


def history(*values: float) -> list[dict[str, float]]:
    return [{"epoch": float(epoch), "x": value} for epoch, value in enumerate(values, 1)]


@pytest.mark.parametrize(
    ("base", "head", "drawn"),
    [
        ([0.5, 0.25, 0.2], [0.5, 0.2, 0.1, 0.1], ["██▆", "█▆▁▁"]),
        ([9e9, 3, 2, 1], [math.nan, 3, math.nan, 1], ["██▁", "█·▁"]),
        ([], [0.3, 0.3], ["", "▁▁"]),
        ([], [], ["", ""]),
        ([1 / epoch for epoch in range(1, 1001)], [1e308], ["███████████▇▆▆▅▄▄▄▃▃▃▂▂▂▂▂▁▁▁▁", ""]),
    ],
)
def test_curves_share_a_scale_and_keep_their_lengths(base: list[float], head: list[float], drawn: list[str]) -> None:
    assert sparklines("x", [history(*base), history(*head)]) == drawn


def png(width: int, height: int, header: bytes = b"\x08\0\0\0\0", more: bytes = b"") -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    size = struct.pack(">II", width, height)
    data = chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size + header) + more + data + chunk(b"IEND", b"")


@pytest.mark.parametrize("count", [0, 1, 10, 11, 201])
def test_error_image_of_evaluate_is_accepted(count: int, tmp_path: Path) -> None:
    draw_errors(np.zeros((count, 28, 28), np.uint8), [""] * count, tmp_path / "errors.png")
    layout = YAML(typ="safe").load(REPOSITORY / "metrics_policy.yaml")["examples"]["pictures"]
    assert is_usable((tmp_path / "errors.png").read_bytes(), Pictures(**layout))


@pytest.mark.parametrize(
    "content",
    [
        png(23_000, 23_000),
        png(560, 28 * 51),
        png(560, 23_000 * 28),
        png(560, 0),
        png(560, 29),
        png(588, 28),
        png(560, 28, header=b"\x10\0\0\0\0"),
        png(560, 28, header=b"\x08\x06\0\0\0"),
        png(560, 28, header=b"\x08\0\0\0\x01"),
        png(560, 28, more=b"\0\0\0\x08acTL" + b"\0" * 12),
        png(560, 28)[:-12] + b"\0\0\0\x08zTXt" + b"\0" * 12 + png(560, 28)[-12:],
        png(560, 28) + b"more",
        png(560, 28)[:-12],
        png(560, 28)[:40],
        b"\x89PNG\r\n\x1a\n",
        b"<svg onload='x'>",
        b"",
    ],
)
def test_unexpected_image_is_left_out_of_the_page(content: bytes) -> None:
    assert is_usable(png(560, 28), PICTURES)
    assert not is_usable(content, PICTURES)
    assert "base64" not in tiles("lost", [mistake(0)], content, PICTURES)


def test_tiles_are_cropped_at_their_positions() -> None:
    drawn = tiles("lost", [mistake(21, "<"), mistake(1000)], png(560, 56), PICTURES)
    assert "background-position:-28px -28px" in drawn
    assert "1→&lt;<br>5" in drawn
    assert drawn.count("<figure>") == 1, "the file holds 1,000"
    assert drawn.endswith("<p>Not shown: 1 more.</p>")


def test_at_most_200_images_are_shown() -> None:
    drawn = tiles("lost", [mistake(at) for at in range(250)], png(560, 28 * 13), PICTURES)
    assert drawn.count("<figure>") == 200
    assert drawn.endswith("<p>Not shown: 50 more.</p>")
    assert "Not shown" not in tiles("lost", [mistake(0)], png(560, 28), PICTURES)
