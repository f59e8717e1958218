"""The parts of a report, independent of Markdown and HTML.

A sentence is a sequence of strings. A plain string is this program's own and is trusted. `Data` was chosen by the
author of the branch; the writers escape it and cut it short. `Strong` is emphasised.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from src.report.tables import Mistake


class Data(str):
    """Text from the branch: a name, a value, an error that quotes either."""

    __slots__ = ()


class Message(Data):
    """A whole sentence that may quote the branch: escaped like `Data`, but may be longer."""

    __slots__ = ()


class Strong(str):
    """Our own words, emphasised."""

    __slots__ = ()


class Better(str):
    """Our own words on a change for the better."""

    __slots__ = ()


class Worse(str):
    """Our own words on a change for the worse."""

    __slots__ = ()


Sentence = Sequence[str]


@dataclass(frozen=True)
class Paragraph:
    """One or more sentences."""

    text: Sentence


@dataclass(frozen=True)
class Bullets:
    """A list; `left_out` more items are only counted."""

    items: Sequence[Sentence]
    left_out: int = 0


@dataclass(frozen=True)
class Table:
    """Rows of sentences under a header; the columns in `right` hold numbers; `left_out` more rows are only counted."""

    header: Sequence[str]
    rows: Sequence[Sequence[Sentence]]
    right: frozenset[int] = frozenset()
    left_out: int = 0


@dataclass(frozen=True)
class Curve:
    """One column of the history of one revision: (epoch, value) pairs, finite, sorted by epoch."""

    revision: str
    part: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Curves:
    """Learning curves on one pair of axes; the validation curves come in the order base, head.

    Attributes:
        title: What they show.
        curves: By revision and part.
        last: Whether these are the last epochs only, drawn again because the first epochs flatten them.
    """

    title: str
    curves: Sequence[Curve]
    last: bool = False


@dataclass(frozen=True)
class Digits:
    """Misclassified images, and the picture that holds them, if there is one."""

    label: str
    mistakes: Sequence[Mistake]
    tiles: bytes | None


@dataclass(frozen=True)
class ConfusionMap:
    """Change in the number of images by (actual, predicted)."""

    changes: dict[tuple[int, int], int]


@dataclass(frozen=True)
class F1Bars:
    """F1 by class, (old, new)."""

    f1: dict[int, tuple[float, float]]


@dataclass(frozen=True)
class Fold:
    """A table that is hidden until the reader opens it."""

    summary: str
    table: Table


Block = Paragraph | Bullets | Table | Fold | Curves | Digits | ConfusionMap | F1Bars


@dataclass(frozen=True)
class Section:
    """A heading and its content.

    Attributes:
        title: The heading.
        blocks: The content.
        tone: `pass`, `fail` or `unknown` for the verdict, otherwise empty.
    """

    title: str
    blocks: list[Block] = field(default_factory=list)
    tone: str = ""


@dataclass(frozen=True)
class Document:
    """The whole report."""

    title: str
    sections: list[Section]


def cut(items: Sequence[Sentence], most: int) -> Bullets:
    """The first `most` items as a list, with the number of those left out."""
    return Bullets(items[:most], max(0, len(items) - most))


def listed(names: Sequence[str], most: int = 8) -> Sentence:
    """At most `most` names from the branch, separated by commas, and how many are left out."""
    parts = [part for name in names[:most] for part in (", ", Data(name))][1:]
    return [*parts, f" and {len(names) - most} more"] if len(names) > most else parts
