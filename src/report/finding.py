"""Findings, and text that may quote the branch.

A text is our own template with arguments. Every argument is escaped, so a forgotten call cannot become an injection.
"""

import enum
import re
from collections.abc import Iterable
from dataclasses import dataclass
from html import unescape
from typing import Any, Self

MAX_LENGTH = 60  # Characters of a name or value.
MAX_MESSAGE_LENGTH = 400  # Characters of an error message.
MAX_LISTED = 8  # Names in a list.
# Characters that are safe in a code span, even in a table: no backtick, pipe, backslash, dollar, < or &.
PLAIN = re.compile(r"[\w.,:;/+\-=%()^~@#*!?'\"{}\[\]… ]+", re.ASCII)


class Level(enum.IntEnum):
    """Severity of a finding; the outcome is the highest level of all findings."""

    NOTE = 0
    UNSURE = 1
    FAIL = 2

    @property
    def outcome(self) -> str:
        """Outcome of the report if this is the highest level."""
        return ("pass", "could not tell", "fail")[self]

    @property
    def exit_code(self) -> int:
        """0 for pass, 1 for fail, 2 for could not tell."""
        return (0, 2, 1)[self]

    @property
    def icon(self) -> str:
        """Symbol for a table."""
        return "✅❓❌"[self]


class Text(str):
    """Markdown for GitHub: our own template with arguments.

    Strings and other values from the branch become truncated code; errors may be longer. A list becomes names separated
    by commas. Numbers and texts are kept.
    """

    def __new__(cls, template: str, *arguments: Any) -> Self:
        """Fill in the template."""
        return super().__new__(cls, template.format(*map(_written, arguments)))

    @property
    def plain(self) -> str:
        """The text as one line for a terminal or a JSON file."""
        return unescape(re.sub(r"`([^`]*)`|</?code>|\*\*", r"\1", self))


@dataclass(frozen=True)
class Finding:
    """A finding of a check.

    Attributes:
        level: Whether it prevents a pass.
        text: Description.
        check: Name of the check, set by `checks.find`.
    """

    level: Level
    text: Text
    check: str = ""


def note(template: str, *arguments: Any) -> Finding:
    """A finding that informs the reviewer."""
    return Finding(Level.NOTE, Text(template, *arguments))


def unsure(template: str, *arguments: Any) -> Finding:
    """A finding that needs a reviewer's decision."""
    return Finding(Level.UNSURE, Text(template, *arguments))


def fail(template: str, *arguments: Any) -> Finding:
    """A finding that fails the change."""
    return Finding(Level.FAIL, Text(template, *arguments))


def highest(findings: Iterable[Finding]) -> Level:
    """The highest level, which decides."""
    return max((finding.level for finding in findings), default=Level.NOTE)


def visible(value: Any) -> str:
    """Format as a short line, with unprintable characters (controls, bidi marks, surrogates) escaped."""
    longest = MAX_MESSAGE_LENGTH if isinstance(value, Exception) else MAX_LENGTH
    line = " ".join(str(value)[: 4 * longest].split())
    shown = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in line)
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"


def code(value: Any) -> str:
    """Format as code in Markdown, in which GitHub renders no links, images, mentions, issue references or emoji."""
    shown = visible(value)
    return f"`{shown}`" if PLAIN.fullmatch(shown) else html_code(value)


def html_code(value: Any) -> str:
    """Format as code in HTML, with an entity for every ASCII character that could have a meaning."""
    shown = (
        char if char.isalnum() or char == " " or not char.isascii() else f"&#{ord(char)};" for char in visible(value)
    )
    return f"<code>{''.join(shown)}</code>"


def number(value: float) -> str:
    """Format a number with a true minus sign: four decimals if they are significant, otherwise four digits."""
    text = f"{value:.4f}" if 1e-4 <= abs(value) < 1e4 and value != int(value) else f"{value:.4g}"
    return text.replace("-", "−")


def _written(argument: Any) -> str:
    match argument:
        case Text():
            return argument
        case bool():
            return code(argument)
        case int():
            return f"{argument:,}"
        case float():
            return number(argument)
        case list() | tuple():
            more = f" and {len(argument) - MAX_LISTED} more" if len(argument) > MAX_LISTED else ""
            return ", ".join(map(_written, argument[:MAX_LISTED])) + more
        case _:
            return code(argument)
