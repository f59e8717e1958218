"""What a report consists of, apart from how Markdown or HTML write it.

A sentence is a sequence of strings. A plain string is this program's own and may be trusted; `Data` was chosen by
whoever wrote the branch and is escaped and cut by the writers; `Strong` stands out.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from src.report.tables import Mistake


class Data(str):
    """Text from the branch: a name, a value, an error that quotes either."""

    __slots__ = ()


class Message(Data):
    """A whole sentence that may quote the branch; as harmless as `Data`, and may be longer."""

    __slots__ = ()


class Strong(str):
    """Words of our own that stand out."""

    __slots__ = ()


class Better(str):
    """Words of our own on a change for the better."""

    __slots__ = ()


class Worse(str):
    """Words of our own on a change for the worse."""

    __slots__ = ()


Sentence = Sequence[str]


@dataclass(frozen=True)
class Paragraph:
    """One sentence or more."""

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
    """Learning curves on one pair of axes; those of the validation part come in the order base, head.

    Attributes:
        title: What they show.
        curves: By revision and part.
        last: Whether these are the last epochs again, drawn apart since the first ones flatten them.
    """

    title: str
    curves: Sequence[Curve]
    last: bool = False


@dataclass(frozen=True)
class Digits:
    """Misclassified images with the picture that holds them, which may be missing."""

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
    """A table that is hidden until it is asked for."""

    summary: str
    table: Table


Block = Paragraph | Bullets | Table | Fold | Curves | Digits | ConfusionMap | F1Bars


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it.

    Attributes:
        title: The heading.
        blocks: What stands under it.
        tone: `pass`, `fail` or `unknown` for the verdict, empty for all else.
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
    """A list of at most so many items, which says how many it leaves out."""
    return Bullets(items[:most], max(0, len(items) - most))


def listed(names: Sequence[str], most: int = 8) -> Sentence:
    """Names from the branch with commas between them, at most so many, saying how many are left out."""
    parts = [part for name in names[:most] for part in (", ", Data(name))][1:]
    return [*parts, f" and {len(names) - most} more"] if len(names) > most else parts
