"""CSV files of a revision as typed rows. They come from the branch, so everything in them is checked."""

import csv
import io
import math
from collections.abc import Container, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple, TypeVar

from src.core.errors import UserError
from src.revision.revision import Revision

MAX_TABLE_BYTES = 20_000_000
MAX_VALUE = 1e9
MAX_ROWS = 200_000
MAX_LABEL_LENGTH = 60
Pair = tuple[str, str]
Key = TypeVar("Key")
Value = TypeVar("Value")


@dataclass(frozen=True)
class Mistake:
    """One test example that the model gets wrong.

    Attributes:
        position: Its row in the table, from 0, and its place in the picture of all mistakes.
        index: Its place in the test set, from 0.
        actual: Its class.
        predicted: The class that the model predicted.
    """

    position: int
    index: int
    actual: str
    predicted: str


class ClassScores(NamedTuple):
    """Scores of one class: number of its test examples; precision, recall and F1, each in [0, 1]."""

    images: int
    precision: float
    recall: float
    f1: float


def read_mistakes(revision: Revision, path: str) -> dict[int, Mistake]:
    """The mistakes of a revision, by index.

    Raises:
        UserError: If the table is missing or malformed.
    """
    rows = _read(revision, path, ("index", "actual", "predicted"), {"actual", "predicted"})
    mistakes = {
        _whole(index, revision, path): Mistake(position, int(index), actual, predicted)
        for position, (index, actual, predicted) in enumerate(rows)
    }
    return _each_once(mistakes, rows, f"{path} of {revision.name}: an index appears twice")


def read_counts(revision: Revision, path: str) -> dict[Pair, int]:
    """Number of test examples by (actual, predicted).

    Raises:
        UserError: If the table is missing or malformed.
    """
    rows = _read(revision, path, ("actual", "predicted", "count"), {"actual", "predicted"})
    counts = {(actual, predicted): _whole(count, revision, path) for actual, predicted, count in rows}
    return _each_once(counts, rows, f"{path} of {revision.name}: a pair of classes appears twice")


def read_classes(revision: Revision, path: str) -> dict[str, ClassScores]:
    """Scores by class.

    Raises:
        UserError: If the table is missing or malformed.
    """
    rows = _read(revision, path, ("class", "images", "precision", "recall", "f1"), {"class"})
    classes = {label: ClassScores(_whole(images, revision, path), *scores) for label, images, *scores in rows}
    return _each_once(classes, rows, f"{path} of {revision.name}: a class appears twice")


def read_curves(revision: Revision, path: str, columns: Sequence[str]) -> list[dict[str, float]]:
    """The named columns of the training history, one dictionary per epoch, sorted by epoch; values may be NaN.

    Raises:
        UserError: If the table is missing or malformed.
    """
    rows = _read(revision, path, ("epoch", *columns), finite=False)
    if not all(math.isfinite(row[0]) for row in rows):
        raise UserError(f"{path} of {revision.name}: an epoch is not a number")
    return sorted((dict(zip(("epoch", *columns), row, strict=True)) for row in rows), key=lambda row: row["epoch"])


def _each_once(found: dict[Key, Value], rows: Sequence[object], problem: str) -> dict[Key, Value]:
    if len(found) < len(rows):
        raise UserError(problem)
    return found


def _read(
    revision: Revision, path: str, columns: Sequence[str], labels: Container[str] = (), finite: bool = True
) -> list[tuple[Any, ...]]:
    where = f"{path} of {revision.name}"
    text = revision.text(path, MAX_TABLE_BYTES)
    if text is None:
        raise UserError(f"{where}: is missing")
    try:
        reader = islice(csv.DictReader(io.StringIO(text)), MAX_ROWS + 1)
        rows = [tuple(row[name].strip() if name in labels else float(row[name]) for name in columns) for row in reader]
    except (KeyError, TypeError, ValueError, AttributeError, csv.Error) as error:
        raise UserError(f"{where}: expected numbers in the columns {', '.join(columns)}") from error
    if len(rows) > MAX_ROWS:
        raise UserError(f"{where}: expected at most {MAX_ROWS:,} rows")
    cells: list[tuple[str, Any]] = [pair for row in rows for pair in zip(columns, row, strict=True)]
    if any(not 0 < len(value) <= MAX_LABEL_LENGTH for name, value in cells if name in labels):
        raise UserError(f"{where}: expected names of classes of at most {MAX_LABEL_LENGTH} characters")
    # No real class, count or score is near the bound. It keeps the report's own sentences short.
    if finite and not all(abs(value) < MAX_VALUE for name, value in cells if name not in labels):
        raise UserError(f"{where}: expected numbers below {MAX_VALUE:g} in the columns {', '.join(columns)}")
    return rows


def _whole(value: float, revision: Revision, path: str) -> int:
    if not value == int(value) >= 0:
        raise UserError(
            f"{path} of {revision.name}: expected whole numbers of at least 0 for examples and their counts"
        )
    return int(value)
