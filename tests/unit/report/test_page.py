import json
import re

import pytest

from src.report.command import judge
from src.report.comment import MAX_LENGTH
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
    history.write_results(range(200), epochs=10_000)
    history.relock()
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
    history.write_results(range(2000))
    history.relock()
    monkeypatch.setattr("src.report.comment.MAX_LENGTH", 2000)
    report = judge("main", None)
    assert len(report.comment) <= 2000
    assert report.comment.startswith("## ❌ Metrics: fail")
    assert report.comment.endswith("The details are too long for a comment.\n")
