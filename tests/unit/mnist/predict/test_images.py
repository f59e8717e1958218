import io
import struct
import tempfile
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from src.core.errors import UserError
from src.mnist.predict.images import BOX, FORMATS, MAX_SIDE, like_mnist, read_digit


def seven(size: int = 200, paper: int = 255, ink: int = 0) -> Image.Image:
    image = Image.new("L", (size, size), paper)
    points = [(0.3, 0.2), (0.7, 0.2), (0.45, 0.8)]
    ImageDraw.Draw(image).line([(x * size, y * size) for x, y in points], fill=ink, width=size // 12)
    return image


def form(image: Image.Image) -> np.ndarray:
    return like_mnist(np.asarray(image, float), "picture")


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.minimum(a, b).sum() / np.maximum(a, b).sum())


def test_dark_on_light_and_light_on_dark_are_the_same_digit() -> None:
    np.testing.assert_array_equal(form(seven()), form(seven(paper=0, ink=255)))


@pytest.mark.parametrize("size", [40, 100, 999])
def test_the_size_of_the_picture_hardly_matters(size: int) -> None:
    assert overlap(form(seven(size)), form(seven(400))) > 0.7


def test_the_place_in_the_picture_hardly_matters() -> None:
    moved = Image.new("L", (700, 500), 255)
    moved.paste(seven(), (450, 20))
    assert overlap(form(moved), form(seven())) > 0.8


@given(paper=st.integers(0, 255), ink=st.integers(0, 255), size=st.integers(30, 120))
def test_a_digit_fills_its_box_and_its_mass_is_in_the_middle(paper: int, ink: int, size: int) -> None:
    if abs(paper - ink) < 40:
        return
    digit = form(seven(size, paper, ink)).astype(float)
    rows, columns = np.flatnonzero(digit.any(1)), np.flatnonzero(digit.any(0))
    assert max(np.ptp(rows), np.ptp(columns)) + 1 == pytest.approx(BOX, abs=1)
    for axis in (0, 1):
        mass = digit.sum(1 - axis)
        assert abs(mass @ np.arange(28) / mass.sum() + 0.5 - 14) <= 0.5


def test_scattered_specks_are_no_digit() -> None:
    paper = np.full((500, 500), 255.0)
    paper[100, 100] = paper[400, 400] = 0
    with pytest.raises(UserError, match=r"^picture: shows more than one digit"):
        like_mnist(paper, "picture")


def test_an_image_of_mnists_form_stays_as_it_is() -> None:
    digit = form(seven())
    np.testing.assert_array_equal(like_mnist(digit.astype(float), "picture"), digit)


def test_noise_on_the_paper_is_no_ink(tmp_path: Path) -> None:
    seven().save(tmp_path / "seven.jpg", quality=75)
    assert overlap(read_digit(tmp_path / "seven.jpg"), form(seven())) > 0.8


def test_a_transparent_background_is_paper(tmp_path: Path) -> None:
    image = Image.new("RGBA", (200, 200), (0, 0, 0, 0))
    image.paste((10, 10, 10, 255), mask=Image.eval(seven(), lambda value: 255 - value))
    image.save(tmp_path / "seven.png")
    assert overlap(read_digit(tmp_path / "seven.png"), form(seven(ink=10))) > 0.95


@pytest.mark.parametrize("paper", [0, 128, 255])
def test_an_empty_picture_is_refused(paper: int) -> None:
    with pytest.raises(UserError, match=r"^picture: shows no digit"):
        form(seven(paper=paper, ink=paper))


@pytest.mark.parametrize("content", [b"", b"text", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_picture_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"a.png: is not a picture that can be read"):
        read_digit(path)


def test_a_picture_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    seven().save(path)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(UserError, match=r"a.jpg: is not a picture that can be read"):
        read_digit(path)


def altered(image: Image.Image, kind: str) -> Image.Image:
    """The same picture in another mode of Pillow's."""
    if kind == "16 bits":
        return Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
    return image.convert(kind)


@pytest.mark.parametrize("kind", ["1", "P", "RGB", "RGBA", "16 bits"])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_the_kind_of_the_pixels_does_not_matter(kind: str, suffix: str, tmp_path: Path) -> None:
    # Both levels are over 255 where they have 16 bits.
    image = seven(paper=220, ink=40) if kind != "1" else seven()
    altered(image, kind).save(tmp_path / f"a.{suffix}")
    assert overlap(read_digit(tmp_path / f"a.{suffix}"), form(image)) > 0.95


def test_cmyk_and_a_turned_photograph_are_read(tmp_path: Path) -> None:
    orientation = Image.Exif()
    orientation[0x0112] = 6
    seven().rotate(90).convert("CMYK").save(tmp_path / "a.jpg", exif=orientation)
    assert overlap(read_digit(tmp_path / "a.jpg"), form(seven())) > 0.8


def test_of_an_animation_the_first_frame_counts(tmp_path: Path) -> None:
    seven().save(tmp_path / "a.gif", save_all=True, append_images=[Image.new("L", (200, 200), 255)])
    assert overlap(read_digit(tmp_path / "a.gif"), form(seven())) > 0.95


def test_a_large_picture_is_reduced_first(tmp_path: Path) -> None:
    seven(MAX_SIDE + 1).save(tmp_path / "a.png")
    assert overlap(read_digit(tmp_path / "a.png"), form(seven(1000))) > 0.9


def test_a_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    seven().save(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"a.png: is not a picture that can be read \(broken PNG file"):
        read_digit(path)


def blank_png(side: int) -> bytes:
    """A PNG of a few bytes that says it has side x side pixels."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    data = zlib.compress(bytes(side + 1))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [10_000, 30_000])
def test_a_decompression_bomb_is_refused(side: int, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(blank_png(side))
    with pytest.raises(UserError, match=r"a.png: is not a picture that can be read \(Image size .* exceeds limit"):
        read_digit(tmp_path / "a.png")


def test_floating_point_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((50, 50), np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(UserError, match=r"its grey values have 32 bits; save it with 8 or 16\)$"):
        read_digit(tmp_path / "a.tif")


@pytest.mark.parametrize("content", [b"%PDF-1.7\n", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n"])
def test_documents_are_no_pictures(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(UserError, match=r"\(expected PNG, JPEG, "):
        read_digit(tmp_path / "a.png")


def test_a_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is not a picture that can be read \(Is a directory\)$"):
        read_digit(tmp_path)


@given(data=st.data(), format=st.sampled_from(FORMATS))
def test_no_damage_gives_another_error(data: st.DataObject, format: str) -> None:
    picture = io.BytesIO()
    seven(60).convert("RGB").save(picture, format)
    content = bytearray(picture.getvalue())
    places = st.integers(0, min(len(content), 300) - 1)
    for place, value in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), min_size=1, max_size=5)):
        content[place] = value
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(content)
        with suppress(UserError):
            assert read_digit(Path(file.name)).shape == (28, 28)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a.png: no such file$"):
        read_digit(tmp_path / "a.png")
