import json
import re
from pathlib import Path

import pytest

from src.report.document import Document, Paragraph, Section
from src.report.markdown import MAX_LENGTH, render_markdown
from src.report.page import render_page
from src.report.vega import MAX_POINTS, thinned
from tests.unit.history import History
from tests.unit.report.browser import find_browser, visit
from tests.unit.report.conftest import build, judge

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
    metrics = json.loads((history.path / "metrics/eval.json").read_text())
    history.write_metrics(**metrics, **{name: number for number, name in enumerate(HOSTILE)}, text="<b>bold</b>")
    with (history.path / "params.yaml").open("a") as file:
        file.write("".join(f"{json.dumps(name)}: {json.dumps(name)}\n" for name in HOSTILE))
    history.relock()


@needs_browser
def test_the_page_draws_every_plot_offline_and_silently(history: History) -> None:
    worse_and_hostile(history)
    page = history.path / "report.html"
    page.write_text(render_page(build()[0]))
    seen = visit(page)
    assert seen.console == []
    assert seen.requests == []
    plots = re.findall(r'<div id="plot\d+" class="plot[^"]*".*?</svg>', seen.dom, re.DOTALL)
    assert len(plots) == 8, "three learning curves, their last epochs, the map of confusions, F1 by class"
    for plot in plots:
        assert re.search(r"mark-(line|rect|symbol)", plot), "axes without a mark are no plot"
    assert len(re.findall(r'<span class="tiles-broken"', seen.dom)) == 50
    assert len(re.findall(r'<span class="tiles-fixed"', seen.dom)) == 30


@needs_browser
@pytest.mark.parametrize(("style", "width"), [("", 375), ("<style>h1 { width: 500px; }</style>", 515)])
def test_on_a_phone_the_page_scrolls_only_vertically(history: History, style: str, width: int) -> None:
    """A scroll bar takes 15 of the 390 pixels; a heading that is too wide proves that the test would notice."""
    worse_and_hostile(history)
    content = json.dumps(style + render_page(build()[0])).replace("<", "\\u003c")
    frame = history.path / "frame.html"  # a window cannot be narrower than 500 pixels
    frame.write_text(
        f"""<!DOCTYPE html><meta charset="utf-8"><iframe width="390" height="800" style="border: 0"></iframe><script>
        const frame = document.querySelector("iframe");
        frame.onload = () => setTimeout(
          () => document.title = frame.contentDocument.documentElement.scrollWidth, 3000);
        frame.srcdoc = {content};
        </script>"""
    )
    assert f"<title>{width}</title>" in visit(frame).dom


@needs_browser
def test_the_browser_reports_requests_and_errors(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text('<meta charset="utf-8"><script>console.error("seen"); fetch("http://127.0.0.1:9/x")</script>')
    seen = visit(page)
    assert any("seen" in line for line in seen.console)
    assert seen.requests == ["http://127.0.0.1:9/x"]


def test_texts_of_the_branch_end_up_as_texts(history: History) -> None:
    worse_and_hostile(history)
    document, _ = build()
    page, markdown = render_page(document).split("<script>", 1)[0], render_markdown(document)  # not the library
    for text in ("<img", "<b>", "<h1>Pass", "console.error('pwned')</script>"):
        assert text not in page
        assert text not in markdown
    assert "&lt;b&gt;bold&lt;/b&gt;" in page
    assert "| <code>a&#124;b&#96;c&#96;&#42;&#42;d" in markdown


def test_a_large_branch_does_not_make_the_comment_too_long(history: History) -> None:
    names = {f"<{'🎉|' * 40}{number}>": "|" * 1000 for number in range(3000)}
    history.write_results(range(5000), epochs=2000)
    history.write_metrics(test_acc=0.5, test_f1=0.5, **names)
    with (history.path / "params.yaml").open("a") as file:
        file.write("".join(f"{json.dumps(name)}: {json.dumps('@' * 50)}\n" for name in list(names)[:50]))
    history.relock()
    _, markdown = judge()
    assert len(markdown) <= MAX_LENGTH
    assert "### ❌ Fail" in markdown
    assert "- `test_acc`: lost 0.488, may lose 0.001" in markdown
    assert "and 4820 more" in markdown


def test_the_longest_sections_are_replaced_but_never_the_verdict(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    history.write_results(range(2000))
    history.relock()
    monkeypatch.setattr("src.report.markdown.MAX_LENGTH", 3000)
    _, markdown = judge()
    assert len(markdown) <= 3000
    assert "### ❌ Fail" in markdown
    assert "\n\nToo long for a comment; the HTML page has it.\n\n" in markdown


def test_a_verdict_that_is_too_long_by_itself_is_cut() -> None:
    sections = [Section("Verdict", [Paragraph(["x" * 2 * MAX_LENGTH])]), Section("Metrics", [Paragraph(["y"])])]
    assert len(render_markdown(Document("Report", sections))) <= MAX_LENGTH


def test_the_first_table_holds_what_gates_or_changed(history: History) -> None:
    history.write_results(set(range(0, 1200, 10)) | {1})
    metrics = json.loads((history.path / "metrics/eval.json").read_text())
    history.write_metrics(**{**metrics, "test_loss": 0.048}, other=3)
    history.relock()
    _, markdown = judge()
    first, folded = markdown.split("### Metrics")[1].split("### Is it")[0].split("<details><summary>")
    assert [line.split("`")[1] for line in first.splitlines() if "`" in line] == [
        *("test_acc", "test_f1", "test_precision", "test_recall", "other")
    ]
    assert folded.startswith("1 that did not change</summary>")
    assert "| `test_loss` | 0.048 | 0.048 | 0 | holds: may lose 0.0048 |" in folded


def test_words_tell_better_from_worse(history: History) -> None:
    """A loss that rises and an accuracy that falls are both worse; what no rule names is neither."""
    history.write_results(set(range(0, 1200, 10)) | {1})
    history.relock()
    document, _ = build()
    page, markdown = render_page(document), render_markdown(document)
    assert "| -0.0001 ▼ worse | ✅ holds" in markdown
    assert "| +0.0004 ▼ worse | holds" in markdown
    assert '+0.0004 <span class="worse">▼ worse</span>' in page
    assert "▲ better" not in markdown.split("### Is it")[0]
    assert "<code>make seeds N=5</code> trains" in page


def test_as_many_epochs_as_params_allow_make_a_small_page(history: History) -> None:
    history.write_results(range(120), epochs=10_000)
    history.relock()
    page = render_page(build()[0])
    plots = page.split("const PLOTS = ")[1]
    assert len(plots) < 500_000
    assert len(page) < 2_000_000


def test_thinning_keeps_the_ends_of_the_range() -> None:
    points = [(float(epoch), 1.0) for epoch in range(10_000)]
    points[1234], points[5678] = (1234.0, 9.0), (5678.0, -9.0)
    kept = thinned(points)
    assert len(kept) <= MAX_POINTS
    assert {points[1234], points[5678]} <= set(kept)
    assert kept == sorted(kept)
    assert thinned(points[:MAX_POINTS]) == points[:MAX_POINTS]
