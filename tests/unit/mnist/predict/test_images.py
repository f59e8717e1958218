import io
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from src.core.errors import UserError
from src.mnist.predict.images import BOX, FORMATS, MAX_SIDE, like_mnist, read_digit


def seven(size: int = 200, paper: int = 255, ink: int = 0, pen: int = 0) -> Image.Image:
    image = Image.new("L", (size, size), paper)
    points = [(0.3, 0.2), (0.7, 0.2), (0.45, 0.8)]
    ImageDraw.Draw(image).line([(x * size, y * size) for x, y in points], fill=ink, width=pen or size // 12)
    return image


def form(image: Image.Image) -> np.ndarray:
    return like_mnist(np.asarray(image, float), "picture").image


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.minimum(a, b).sum() / np.maximum(a, b).sum())


def saved(image: Image.Image, path: Path, **options: Any) -> np.ndarray:
    image.save(path, **options)
    return read_digit(path).image


def test_inverted_picture_gives_the_same_digit() -> None:
    np.testing.assert_array_equal(form(seven()), form(seven(paper=0, ink=255)))


@settings(max_examples=50)
@given(paper=st.integers(0, 255), ink=st.integers(0, 255), size=st.integers(30, 120))
def test_digit_fills_its_box_and_is_centred_by_mass(paper: int, ink: int, size: int) -> None:
    if abs(paper - ink) < 40:
        return
    digit = form(seven(size, paper, ink)).astype(float)
    rows, columns = np.flatnonzero(digit.any(1)), np.flatnonzero(digit.any(0))
    assert max(np.ptp(rows), np.ptp(columns)) + 1 == pytest.approx(BOX, abs=1)
    for axis in (0, 1):
        mass = digit.sum(1 - axis)
        assert abs(mass @ np.arange(28) / mass.sum() + 0.5 - 14) <= 0.5


def test_image_in_mnist_format_is_unchanged() -> None:
    digit = form(seven())
    np.testing.assert_array_equal(like_mnist(digit.astype(float), "picture").image, digit)


def transparent() -> Image.Image:
    image = Image.new("RGBA", (200, 200), (0, 0, 0, 0))
    image.paste((10, 10, 10, 255), mask=Image.eval(seven(), lambda value: 255 - value))
    return image


def moved() -> Image.Image:
    image = Image.new("L", (700, 500), 255)
    image.paste(seven(), (450, 20))
    return image


def turned() -> tuple[Image.Image, dict[str, Any]]:
    orientation = Image.Exif()
    orientation[0x0112] = 6
    return seven().rotate(90).convert("CMYK"), {"exif": orientation}


GREY = seven(paper=220, ink=40)
WIDE = np.asarray(GREY).astype(np.uint16) * 257
ANIMATION = {"save_all": True, "append_images": [Image.new("L", (200, 200), 255)]}
# Picture, file name, options for saving, equivalent picture, minimum overlap of both.
KINDS: dict[str, tuple[Image.Image, str, dict[str, Any], Image.Image, float]] = {
    "JPEG noise": (seven(), "a.jpg", {"quality": 75}, seven(), 0.8),
    "transparent background": (transparent(), "a.png", {}, seven(ink=10), 0.95),
    "CMYK, rotated by EXIF": (turned()[0], "a.jpg", turned()[1], seven(), 0.8),
    "animation": (seven(), "a.gif", ANIMATION, seven(), 0.95),
    "larger than MAX_SIDE": (seven(MAX_SIDE + 1), "a.png", {}, seven(1000), 0.9),
    "small picture": (seven(40), "a.png", {}, seven(400), 0.7),
    "thin pen": (seven(400, pen=1), "a.png", {}, seven(400, pen=20), 0.7),
    "narrow pen": (seven(400, pen=9), "a.png", {}, seven(400, pen=20), 0.7),
    "off-centre digit": (moved(), "a.png", {}, seven(), 0.8),
    "1 bit": (seven().convert("1"), "a.png", {}, seven(), 0.95),
    "16 bits": (Image.fromarray(WIDE), "a.png", {}, GREY, 0.95),
    "16 bits as TIFF": (Image.fromarray(WIDE), "a.tif", {}, GREY, 0.95),
    **{mode: (GREY.convert(mode), "a.tif", {}, GREY, 0.95) for mode in ("P", "RGB", "RGBA")},
}


@pytest.mark.parametrize("kind", KINDS)
def test_result_does_not_depend_on_the_picture_format(kind: str, tmp_path: Path) -> None:
    image, name, options, expected, least = KINDS[kind]
    assert overlap(saved(image, tmp_path / name, **options), form(expected)) > least


@pytest.mark.parametrize("paper", [0, 128, 255])
@pytest.mark.parametrize("size", [(1, 1), (1, 90), (90, 1), (200, 200)])
def test_empty_picture_is_rejected(size: tuple[int, int], paper: int) -> None:
    with pytest.raises(UserError, match=r"^picture: shows no digit"):
        form(Image.new("L", size, paper))


def test_scattered_specks_are_rejected() -> None:
    paper = np.full((500, 500), 255.0)
    paper[100, 100] = paper[400, 400] = 0
    with pytest.raises(UserError, match=r"^picture: shows more than one digit"):
        like_mnist(paper, "picture")


@settings(max_examples=50)
@given(data=st.data(), height=st.integers(1, 6), width=st.integers(1, 6))
def test_tiny_pictures_are_read_or_rejected(data: st.DataObject, height: int, width: int) -> None:
    pixels = data.draw(st.lists(st.sampled_from([0.0, 90.0, 255.0]), min_size=height * width, max_size=height * width))
    with suppress(UserError):
        assert like_mnist(np.array(pixels).reshape(height, width), "picture").image.shape == (28, 28)


def content_of(image: Image.Image, format: str) -> bytes:
    content = io.BytesIO()
    image.save(content, format)
    return content.getvalue()


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


FORMAT = "expected PNG, JPEG, "
REFUSED = {
    "empty": (b"", FORMAT),
    "text": (b"text", FORMAT),
    "PNG signature only": (b"\x89PNG\r\n\x1a\n", ""),
    "truncated JPEG": (content_of(seven(), "JPEG")[:-2000], ""),
    "flipped bit": (flipped(content_of(seven(), "PNG")), "broken PNG file"),
    "floating point": (
        content_of(Image.new("F", (50, 50)), "TIFF"),
        "its grey values have too many bits; save it with 8",
    ),
    "16 bits as PGM": (b"P5 50 50 65535\n" + bytes(5000), "its grey values have too many bits; save it with 8"),
    "PDF": (b"%PDF-1.7\n", FORMAT),
    "PostScript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n", FORMAT),
}


@pytest.mark.parametrize("case", REFUSED)
def test_damaged_or_unsupported_file_is_rejected(case: str, tmp_path: Path) -> None:
    content, reason = REFUSED[case]
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(UserError, match=rf"a.png: is not a picture that can be read \({reason}"):
        read_digit(tmp_path / "a.png")


# Pillow warns above a limit, and raises above twice the limit.
@pytest.mark.parametrize("limit", [30_000, 300])
def test_decompression_bomb_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    seven().save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(UserError, match=r"a.png: is not a picture that can be read \(Image size .* exceeds limit"):
        read_digit(tmp_path / "a.png")


def test_folder_and_missing_file_are_reported(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is not a picture that can be read \(Is a directory\)$"):
        read_digit(tmp_path)
    with pytest.raises(UserError, match=r"a.png: no such file$"):
        read_digit(tmp_path / "a.png")


@settings(max_examples=50)
@given(data=st.data(), format=st.sampled_from(FORMATS))
def test_damaged_file_raises_only_user_errors(data: st.DataObject, format: str) -> None:
    content = bytearray(content_of(seven(60).convert("RGB"), format))
    places = st.integers(0, min(len(content), 300) - 1)
    for place, value in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), min_size=1, max_size=5)):
        content[place] = value
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(content)
        with suppress(UserError):
            assert read_digit(Path(file.name)).image.shape == (28, 28)
