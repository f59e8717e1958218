import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from src.mnist.evaluate.pictures import draw_errors
from src.report.charts import MAX_EPOCHS, MAX_POINTS, Curve, confusion_map, is_usable, lines, mermaid, spread, tiles
from src.report.policy import Pictures
from src.report.tables import Mistake
from tests.conftest import REPOSITORY

PICTURES = Pictures(file="tiles.png", side=28, columns=20)


def mistake(position: int, predicted: str = "2") -> Mistake:
    return Mistake(position=position, index=5, actual="1", predicted=predicted)


def numbers(chart: str, word: str) -> list[list[float]]:
    found = [line.split("[")[1].rstrip("]") for line in chart.splitlines() if line.strip().startswith(word)]
    return [[float(value) for value in values.split(", ")] for values in found]


def test_both_revisions_over_common_epochs() -> None:
    base = Curve("base", True, [(1, 0.5), (2, 0.25)])
    head = Curve("head", True, [(1, 0.4), (2, 0.2), (3, 0.1)])
    chart = mermaid("Loss", [base, head])
    assert numbers(chart, "x-axis") == [[1, 2, 3]]
    assert numbers(chart, "line") == [[0.5, 0.25], [0.4, 0.2, 0.1]]
    assert "y-axis 0.08000 --> 0.52000" in chart
    assert '"plotColorPalette": "#8c8c8c, #d95f02"' in chart


def test_a_lone_head_keeps_its_colour() -> None:
    chart = mermaid("Loss", [Curve("base", True, []), Curve("head", True, [(1, 1.0)])])
    assert '"plotColorPalette": "#d95f02"' in chart


def test_long_trainings_are_thinned_from_the_first_epoch_to_the_last() -> None:
    chart = mermaid("Loss", [Curve("head", True, [(epoch, 1 / epoch) for epoch in range(1, 1001)])])
    (epochs,) = numbers(chart, "x-axis")
    assert (epochs[0], epochs[-1], len(epochs)) == (1, 1000, MAX_EPOCHS)


@given(st.lists(st.tuples(st.integers(1, 50), st.floats(-1e9, 1e9)), min_size=1, max_size=30))
def test_any_finite_values_make_charts(values: list[tuple[int, float]]) -> None:
    points = sorted(dict(values).items())
    curve = Curve("head", True, [(float(epoch), value) for epoch, value in points])
    assert len(numbers(mermaid("x", [curve]), "line")[0]) == min(len(points), MAX_EPOCHS)
    svg = lines("x", [curve, Curve("base", False, [])])
    assert svg.count("<polyline") == 2
    assert "nan" not in svg


def test_a_long_curve_is_thinned_evenly_with_both_ends() -> None:
    assert spread(range(1000), 4) == [0, 333, 666, 999]
    assert spread([1, 2], 4) == [1, 2]
    curve = Curve("head", True, [(float(epoch), 1.0) for epoch in range(10_000)])
    assert len(lines("x", [curve])) < 20 * MAX_POINTS


def test_the_map_shows_each_change() -> None:
    drawn = confusion_map({("2", "7"): 7, ("<b>", "7"): -1})
    assert ">+7</td>" in drawn
    assert ">-1</td>" in drawn
    assert "<b>" not in drawn
    assert confusion_map({(str(a), str(a + 1)): 1 for a in range(50)}) == "", "too many classes for a map"


def png(width: int, height: int, header: bytes = b"\x08\0\0\0\0", more: bytes = b"") -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    size = struct.pack(">II", width, height)
    data = chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size + header) + more + data + chunk(b"IEND", b"")


@pytest.mark.parametrize("count", [0, 1, 10, 11, 201])
def test_what_evaluate_draws_is_usable(count: int, tmp_path: Path) -> None:
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
def test_any_other_picture_stays_out_of_the_page(content: bytes) -> None:
    assert is_usable(png(560, 28), PICTURES)
    assert not is_usable(content, PICTURES)
    assert "base64" not in tiles("lost", [mistake(0)], content, PICTURES)


def test_tiles_are_cut_at_their_places() -> None:
    drawn = tiles("lost", [mistake(21, "<"), mistake(1000)], png(560, 56), PICTURES)
    assert "background-position:-56px -56px" in drawn
    assert "1→&lt;<br>5" in drawn
    assert drawn.count("<figure>") == 1, "the file holds 1,000"
    assert "and 1 more" in drawn
