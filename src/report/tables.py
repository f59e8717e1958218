"""The stages' CSV files as typed rows. They come from the branch, so everything in them is checked."""

import csv
import io
import math
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from src.core.errors import UserError
from src.report.revision import Revision

MAX_VALUE = 1e9
MAX_ROWS = 200_000


@dataclass(frozen=True)
class Mistake:
    """One misclassified test image.

    Attributes:
        position: Its row in plots/errors.csv, from 0, and its place in the picture of all mistakes.
        index: Its place in the test set, from 0.
        actual: Its class.
        predicted: The class that the model predicted.
        confidence: Probability that the model gave to `predicted`, in [0, 1].
    """

    position: int
    index: int
    actual: int
    predicted: int
    confidence: float


class ClassScores(NamedTuple):
    """Scores of one class: number of its test images; precision, recall and F1, each in [0, 1]."""

    images: int
    precision: float
    recall: float
    f1: float


def read_mistakes(revision: Revision) -> dict[int, Mistake]:
    """The misclassified images of a revision, by index.

    Raises:
        UserError: If the table is missing or malformed.
    """
    rows = _read(revision, "plots/errors.csv", ("index", "actual", "predicted", "confidence"))
    mistakes = {
        int(row[0]): Mistake(position, int(row[0]), int(row[1]), int(row[2]), row[3])
        for position, row in enumerate(_whole(row, 3, "plots/errors.csv", revision) for row in rows)
    }
    if len(mistakes) < len(rows):
        raise UserError(f"plots/errors.csv of {revision.name}: an index appears twice")
    return mistakes


def read_confusion(revision: Revision) -> dict[tuple[int, int], int]:
    """Number of test images by (actual, predicted).

    Raises:
        UserError: If the table is missing or malformed.
    """
    rows = _read(revision, "plots/confusion.csv", ("actual", "predicted", "count"))
    whole = [_whole(row, 3, "plots/confusion.csv", revision) for row in rows]
    counts = {(int(actual), int(predicted)): int(count) for actual, predicted, count in whole}
    if len(counts) < len(rows):
        raise UserError(f"plots/confusion.csv of {revision.name}: a pair of classes appears twice")
    return counts


def read_classes(revision: Revision) -> dict[int, ClassScores]:
    """Scores by class.

    Raises:
        UserError: If the table is missing or malformed.
    """
    rows = _read(revision, "plots/per_class.csv", ("class", "images", "precision", "recall", "f1"))
    whole = [_whole(row, 2, "plots/per_class.csv", revision) for row in rows]
    classes = {int(row[0]): ClassScores(int(row[1]), *row[2:]) for row in whole}
    if len(classes) < len(rows):
        raise UserError(f"plots/per_class.csv of {revision.name}: a class appears twice")
    return classes


def read_history(revision: Revision, columns: tuple[str, ...]) -> list[dict[str, float]]:
    """The named columns of the training history, one dictionary per epoch, sorted by epoch; values may be NaN.

    Raises:
        UserError: If the table is missing or malformed.
    """
    rows = _read(revision, "plots/history.csv", ("epoch", *columns), finite=False)
    if not all(math.isfinite(row[0]) for row in rows):
        raise UserError(f"plots/history.csv of {revision.name}: an epoch is not a number")
    return sorted((dict(zip(("epoch", *columns), row, strict=True)) for row in rows), key=lambda row: row["epoch"])


def _read(revision: Revision, path: str, columns: tuple[str, ...], finite: bool = True) -> list[tuple[float, ...]]:
    where = f"{path} of {revision.name}"
    text = revision.tables[path]
    if text is None:
        raise UserError(f"{where}: is missing")
    try:
        reader = islice(csv.DictReader(io.StringIO(text)), MAX_ROWS + 1)
        rows = [tuple(float(row[column]) for column in columns) for row in reader]
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise UserError(f"{where}: expected numbers in the columns {', '.join(columns)}") from error
    if len(rows) > MAX_ROWS:
        raise UserError(f"{where}: expected at most {MAX_ROWS:,} rows")
    # No real class, count or score is near the bound. It keeps the report's own sentences short.
    if finite and not all(abs(value) < MAX_VALUE for row in rows for value in row):
        raise UserError(f"{where}: expected numbers below {MAX_VALUE:g} in the columns {', '.join(columns)}")
    return rows


def _whole(row: tuple[float, ...], columns: int, path: str, revision: Revision) -> tuple[float, ...]:
    """The row, after checking that its first columns hold whole numbers of at least 0."""
    if not all(value == int(value) >= 0 for value in row[:columns]):
        raise UserError(f"{path} of {revision.name}: expected whole numbers of at least 0 for classes and images")
    return row
