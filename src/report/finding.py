"""Findings, and text that may quote the branch.

A text is a template of ours and arguments. Every argument is escaped, whatever it is: a forgotten wrap cannot become an
injection.
"""

import enum
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

MAX_LENGTH = 60  # characters of one name or value
MAX_MESSAGE_LENGTH = 400  # of one error message
MAX_LISTED = 8  # names in a list
# What is safe in a code span, also within a table: no backtick, pipe, backslash, dollar, < or &.
PLAIN = re.compile(r"[\w.,:;/+\-=%()^~@#*!?'\"{}\[\]… ]+", re.ASCII)


class Level(enum.IntEnum):
    """How a finding counts; the outcome is the highest level of all findings."""

    NOTE = 0
    UNSURE = 1
    FAIL = 2

    @property
    def outcome(self) -> str:
        """What the report answers if this is the highest level."""
        return ("pass", "could not tell", "fail")[self]

    @property
    def exit_code(self) -> int:
        """0 for pass, 1 for fail, 2 for could not tell."""
        return (0, 2, 1)[self]

    @property
    def icon(self) -> str:
        """A sign for a table."""
        return "✅❓❌"[self]


class Text:
    """A template of ours with its arguments.

    Strings and other values of the branch become code, cut short; an error may be longer. A list becomes names between
    commas. Numbers and texts stay what they are.
    """

    def __init__(self, template: str, *arguments: Any) -> None:
        self._template = template
        self._arguments = arguments

    @property
    def markdown(self) -> str:
        """As Markdown for GitHub."""
        return self._template.format(*(_written(argument, code) for argument in self._arguments))

    @property
    def plain(self) -> str:
        """As one line for a terminal or a JSON file."""
        template = self._template.replace("**", "").replace("`", "")
        return template.format(*(_written(argument, visible) for argument in self._arguments))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Text) and self.markdown == other.markdown

    def __hash__(self) -> int:
        return hash(self.markdown)


def joined(texts: Iterable[Text], separator: str) -> Text:
    """Several texts as one."""
    parts = list(texts)
    return Text(separator.join(["{}"] * len(parts)), *parts)


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes:
        level: Whether it prevents a pass.
        text: In words.
        check: Name of the check, filled in by whoever runs it.
    """

    level: Level
    text: Text
    check: str = ""


def note(template: str, *arguments: Any) -> Finding:
    """What a reviewer should know."""
    return Finding(Level.NOTE, Text(template, *arguments))


def unsure(template: str, *arguments: Any) -> Finding:
    """Why nobody can tell without looking."""
    return Finding(Level.UNSURE, Text(template, *arguments))


def fail(template: str, *arguments: Any) -> Finding:
    """What is wrong."""
    return Finding(Level.FAIL, Text(template, *arguments))


def highest(findings: Iterable[Finding]) -> Level:
    """The level that decides."""
    return max((finding.level for finding in findings), default=Level.NOTE)


def visible(value: Any) -> str:
    """One short line: white space becomes spaces, unprintable characters (controls, bidi marks, surrogates) escapes."""
    longest = MAX_MESSAGE_LENGTH if isinstance(value, Exception) else MAX_LENGTH
    line = " ".join(str(value)[: 4 * longest].split())
    shown = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in line)
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"


def code(value: Any) -> str:
    """As code in Markdown, where GitHub draws no link, image, mention, reference to an issue or emoji."""
    shown = visible(value)
    return f"`{shown}`" if PLAIN.fullmatch(shown) else html_code(value)


def html_code(value: Any) -> str:
    """Also within HTML, where there is no Markdown: an entity for each ASCII sign neither ends nor begins anything."""
    shown = (
        char if char.isalnum() or char == " " or not char.isascii() else f"&#{ord(char)};" for char in visible(value)
    )
    return f"<code>{''.join(shown)}</code>"


def number(value: float) -> str:
    """A number with a true minus sign: four decimals where they say something, otherwise four digits."""
    text = f"{value:.4f}" if 1e-4 <= abs(value) < 1e4 and value != int(value) else f"{value:.4g}"
    return text.replace("-", "−")


def _written(argument: Any, escape: Callable[[Any], str]) -> str:
    match argument:
        case Text():
            return argument.markdown if escape is code else argument.plain
        case bool():
            return escape(argument)
        case int():
            return f"{argument:,}"
        case float():
            return number(argument)
        case list() | tuple():
            more = f" and {len(argument) - MAX_LISTED} more" if len(argument) > MAX_LISTED else ""
            return ", ".join(_written(one, escape) for one in argument[:MAX_LISTED]) + more
        case _:
            return escape(argument)
