import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from src.core.errors import UserError
from src.report.finding import (
    MAX_LENGTH,
    Level,
    Text,
    code,
    fail,
    highest,
    html_code,
    note,
    number,
    unsure,
    visible,
)

pytestmark = pytest.mark.fault(42)

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
    """Text of a table cell, and its HTML elements."""
    tokens = GFM.parse(f"| a | b |\n| --- | --- |\n| {markdown} | end |")
    cells = [token for token in tokens if token.type == "inline"][2:]
    assert len(cells) == 2, "a cell was split or the table ended"
    assert cells[1].content == "end"
    children = cells[0].children or []
    shown = "".join(child.content for child in children if child.type in ("text", "text_special", "code_inline"))
    return shown, [child.content if child.type == "html_inline" else child.type for child in children]


@given(st.text())
def test_text_is_escaped_in_markdown(text: str) -> None:
    shown, tags = text_and_tags(code(text))
    assert shown == visible(text)
    assert set(tags) <= {"code_inline", "text", "text_special", "<code>", "</code>"}


@given(st.text())
def test_plain_text_is_what_markdown_shows(text: str) -> None:
    for argument in (text, f"**{text}**", f"`{text}` and `", f"<code>&lt;{text}"):
        assert Text("**our** `template` with {}, {}", argument, [argument]).plain == (
            f"our template with {visible(argument)}, {visible(argument)}"
        )


@given(st.text(min_size=0, max_size=2000))
def test_shown_text_is_short_printable_and_one_line(text: str) -> None:
    shown = visible(text)
    assert shown.isprintable()
    assert len(shown) <= MAX_LENGTH
    shown.encode()


def test_messages_may_be_longer() -> None:
    assert len(visible(UserError("word " * 100))) > MAX_LENGTH


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_escaped_in_html(text: str) -> None:
    shown = html_code(text)
    assert shown.startswith("<code>")
    assert shown.endswith("</code>")
    assert not set(shown[6:-7]) & set("<>\"'@`|[]")


@pytest.mark.parametrize("text", HOSTILE)
def test_every_argument_is_escaped(text: str) -> None:
    """This includes strings, errors, lists, objects and nested texts."""

    class Thing:
        def __str__(self) -> str:
            return text

    for argument in (text, UserError(text), [text], (Thing(),), Thing(), Text("{}", text), [Text("{}", text)]):
        shown, tags = text_and_tags(Text("{}", argument))
        assert shown == visible(text)
        assert set(tags) <= {"code_inline", "text", "text_special", "<code>", "</code>"}


def test_braces_in_an_argument_are_not_expanded() -> None:
    assert Text("{}", "{0.__class__}").plain == "{0.__class__}"
    assert Text("{}", [Text("a {}", "{}"), Text("b")]).plain == "a {}, b"


def test_outcome_is_the_highest_level() -> None:
    assert highest([note(""), fail(""), unsure("")]) is Level.FAIL
    assert highest([]) is Level.NOTE
    assert [level.exit_code for level in Level] == [0, 2, 1]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.99570001, "0.9957"), (-0.0057, "−0.0057"), (0.0, "0"), (7.0, "7"), (1e-7, "1e−07"), (123456.0, "1.235e+05")],
)
def test_numbers_are_formatted_briefly(value: float, text: str) -> None:
    assert number(value) == text


def test_long_list_is_truncated() -> None:
    assert Text("{}", list("abcdefghij")).plain == "a, b, c, d, e, f, g, h and 2 more"
