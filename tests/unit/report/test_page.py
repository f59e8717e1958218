import json
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from ruamel.yaml import YAML

from src.mnist.evaluate.pictures import draw_errors
from src.report.command import judge
from src.report.comment import MAX_LENGTH
from src.report.page import is_usable, tiles
from src.report.policy import Pictures
from src.report.tables import Mistake
from tests.conftest import REPOSITORY
from tests.unit.history import History
from tests.unit.report.browser import find_browser, visit

needs_browser = pytest.mark.skipif(find_browser() is None, reason="no Chromium or Chrome on PATH to draw the page with")
HOSTILE = [
    "<script>console.error('pwned')</script>",
    '"><img src=x onerror=console.error(1)>',
    "</td></table><h1>Pass</h1>",
    "a|b`c`**d**[e](http://127.0.0.1:9/)@f\n\n# g",
    "</script><script>console.error(2)</script>",
    "{{7*7}}",
]
PICTURES = Pictures(file="tiles.png", side=28, columns=20)


def worse_and_hostile(history: History) -> None:
    history.write_results((set(range(0, 1200, 10)) - set(range(0, 300, 10))) | set(range(1, 500, 10)), epochs=8)
    history.train_anew("worse")
    metrics = json.loads((history.path / "metrics/eval.json").read_text())
    history.write_metrics(**metrics, **{name: number for number, name in enumerate(HOSTILE)}, text="<b>bold</b>")
    with (history.path / "params.yaml").open("a") as file:
        file.write("".join(f"{json.dumps(name)}: {json.dumps(name)}\n" for name in HOSTILE))
    history.relock()


@needs_browser
def test_page_shows_every_image_offline_without_errors(history: History) -> None:
    worse_and_hostile(history)
    page = history.path / "report.html"
    page.write_text(judge("main", None).page)
    seen = visit(page)
    assert seen.console == []
    assert seen.requests == []
    assert len(re.findall("<code>[▁-█]{5,8}</code>", seen.dom)) == 12, "learning curves"
    assert len(re.findall(r'<i class="lost"', seen.dom)) == 50
    assert len(re.findall(r'<i class="won"', seen.dom)) == 30


@needs_browser
def test_page_scrolls_only_vertically_on_a_phone(history: History) -> None:
    """A scroll bar takes 15 of the 390 pixels.

    What proves that the tests would notice: a heading that is too wide, an error and a request.
    """
    worse_and_hostile(history)
    page = judge("main", None).page
    pages = json.dumps([page, "<style>h2 { width: 500px; }</style>" + page]).replace("<", "\\u003c")
    frames = history.path / "frames.html"  # a window cannot be narrower than 500 pixels
    frames.write_text(
        f"""<!DOCTYPE html><meta charset="utf-8"><script>
        console.error("seen");
        fetch("http://127.0.0.1:9/x");
        for (const page of {pages}) {{
          const frame = document.createElement("iframe");
          frame.width = 390;
          frame.style.border = 0;
          frame.onload = () => setTimeout(
            () => document.title += " " + frame.contentDocument.documentElement.scrollWidth, 3000);
          frame.srcdoc = page;
          document.documentElement.append(frame);
        }}
        </script>"""
    )
    seen = visit(frames)
    assert sorted(re.findall(r"\d+", re.findall("<title>.*</title>", seen.dom)[0])) == ["375", "515"]
    assert any("seen" in line for line in seen.console)
    assert seen.requests == ["http://127.0.0.1:9/x"]


def test_text_of_the_branch_is_escaped(history: History) -> None:
    worse_and_hostile(history)
    report = judge("main", None)
    for text in ("<img", "<b>", "<h1>Pass", "console.error('pwned')</script>", "<script"):
        assert text not in report.page
        assert text not in report.comment
    assert "&lt;b&gt;bold&lt;/b&gt;" in report.page
    assert "| <code>a&#124;b&#96;c&#96;&#42;&#42;d" in report.comment


def test_page_has_no_scripts_and_loads_no_resources(history: History) -> None:
    history.rerun(range(200), epochs=10_000)
    page = judge("main", None).page
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in page
    assert "script" not in page
    assert len(page) < 150_000, "as many epochs as params allow"


def test_comment_length_is_limited(history: History) -> None:
    names = {f"<{'🎉|' * 40}{number}>": "|" * 1000 for number in range(3000)}
    history.write_results(range(5000), epochs=2000)
    history.write_metrics(test_acc=0.5, test_f1=0.5, **names)
    with (history.path / "params.yaml").open("a") as file:
        file.write(
            "".join(f"{json.dumps(name, ensure_ascii=False)}: {json.dumps('@' * 50)}\n" for name in list(names)[:50])
        )
    history.relock()
    report = judge("main", None)
    assert len(report.comment) <= MAX_LENGTH
    assert report.comment.startswith("## ❌ Metrics: fail")
    assert "`test_acc`, `test_f1`: lost more than allowed" in report.comment
    assert "and 4,820 more" in report.comment


def test_longest_details_are_dropped_before_the_verdict(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    history.rerun(range(2000))
    monkeypatch.setattr("src.report.comment.MAX_LENGTH", 2000)
    report = judge("main", None)
    assert len(report.comment) <= 2000
    assert report.comment.startswith("## ❌ Metrics: fail")
    assert report.comment.endswith("The details are too long for a comment.\n")


def mistake(position: int, predicted: str = "2") -> Mistake:
    return Mistake(position=position, index=5, actual="1", predicted=predicted)


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
