"""Text from the branch, made harmless and short."""

import html
import re

from src.report.document import Data, Message

MAX_LENGTH = 60  # characters of one name or value
MAX_MESSAGE_LENGTH = 400  # of one error message
# What is safe in a code span, also within a table: no backtick, pipe, backslash, dollar, < or &.
PLAIN = re.compile(r"[\w.,:;/+\-=%()^~@#*!?'\"{}\[\]… ]+", re.ASCII)


def visible(text: Data) -> str:
    """One short line: white space becomes spaces, unprintable characters (controls, bidi marks, surrogates) escapes."""
    longest = MAX_MESSAGE_LENGTH if isinstance(text, Message) else MAX_LENGTH
    line = " ".join(text[: 4 * longest].split())
    shown = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in line)
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"


def markdown_code(text: Data) -> str:
    """As code in Markdown, where GitHub draws no link, image, mention, reference to an issue or emoji."""
    shown = visible(text)
    if PLAIN.fullmatch(shown):
        return f"`{shown}`"
    # Every ASCII sign as an entity: it can neither end the element or the cell nor begin any Markdown.
    signs = "".join(
        char if char.isalnum() or char == " " or not char.isascii() else f"&#{ord(char)};" for char in shown
    )
    return f"<code>{signs}</code>"


def html_code(text: Data) -> str:
    """As code in HTML."""
    return f"<code>{html.escape(visible(text))}</code>"
