import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from src.report.document import Data, Message
from src.report.escape import MAX_LENGTH, html_code, markdown_code, visible

GFM = MarkdownIt("gfm-like", {"linkify": False, "html": True})
HOSTILE = [
    "<script>alert(1)</script>",
    "</code><img src=x onerror=alert(1)>",
    "a|b",
    "`a` **b** `",
    "``",
    "[link](https://example.org)",
    "![image](https://example.org/x.png)",
    "@someone",
    "https://example.org",
    "www.example.org",
    "$`x`$",
    "a\n\n# heading",
    "\\`",
    "&lt;b&gt;",
    "",
    " ",
    "\u202eevil",
    "\x1b[31mred",
    "\ud800",
    "é·漢字 🎉",
]


def text_and_tags(markdown: str) -> tuple[str, list[str]]:
    """What a table's cell shows, and which elements it consists of."""
    tokens = GFM.parse(f"| a | b |\n| --- | --- |\n| {markdown} | end |")
    cells = [token for token in tokens if token.type == "inline"][2:]
    assert len(cells) == 2, "a cell was split or the table ended"
    assert cells[1].content == "end"
    children = cells[0].children or []
    shown = "".join(child.content for child in children if child.type in ("text", "text_special", "code_inline"))
    return shown, [child.content if child.type == "html_inline" else child.type for child in children]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_text_in_markdown(text: str) -> None:
    shown, tags = text_and_tags(markdown_code(Data(text)))
    assert shown == visible(Data(text))
    assert set(tags) <= {"code_inline", "text", "text_special", "<code>", "</code>"}


@given(st.text())
def test_any_text_stays_text_in_markdown(text: str) -> None:
    shown, tags = text_and_tags(markdown_code(Data(text)))
    assert shown == visible(Data(text))
    assert set(tags) <= {"code_inline", "text", "text_special", "<code>", "</code>"}


@given(st.text(min_size=0, max_size=2000))
def test_what_is_shown_is_short_prints_and_is_one_line(text: str) -> None:
    shown = visible(Data(text))
    assert shown.isprintable()
    assert len(shown) <= MAX_LENGTH
    shown.encode()


def test_messages_may_be_longer() -> None:
    assert len(visible(Message("word " * 100))) > MAX_LENGTH


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_text_in_html(text: str) -> None:
    inner = html_code(Data(text)).removeprefix("<code>").removesuffix("</code>")
    assert "<" not in inner
    assert ">" not in inner
    assert '"' not in inner
