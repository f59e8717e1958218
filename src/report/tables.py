"""CSV files of a revision as typed rows. They come from the branch, so all their content is validated."""

import csv
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Any, TypeVar

from pydantic import Field, FiniteFloat, StringConstraints

from src.core.errors import UserError
from src.revision.parsing import validated
from src.revision.revision import Revision

MAX_ROWS = 200_000
# Only the first invalid row is reported, since all of them could be invalid.
ONE_PROBLEM = Field(fail_fast=True)
Pair = tuple[str, str]
Key = TypeVar("Key")
Value = TypeVar("Value")
# No real class or count is near these limits, which keep the report's sentences short.
Count = Annotated[int, Field(ge=0, lt=10**9)]
Label = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=60)]


@dataclass(frozen=True, slots=True)
class Mistake:
    """A test example that the model gets wrong.

    Attributes:
        position: Position in the table and in the image of all mistakes, from 0.
        index: Position in the test set, from 0.
        actual: Class of the example.
        predicted: Class that the model predicted.
    """

    position: int
    index: Count
    actual: Label
    predicted: Label


@dataclass(frozen=True, slots=True)
class Cell:
    """Number of test examples of a class for which the model predicts a certain class."""

    actual: Label
    predicted: Label
    count: Count


@dataclass(frozen=True, slots=True)
class ClassScores:
    """Scores of one class, and the number of its test examples."""

    label: Annotated[Label, Field(alias="class")]
    images: Count
    precision: FiniteFloat
    recall: FiniteFloat
    f1: FiniteFloat


def read_mistakes(revision: Revision, path: str) -> dict[int, Mistake]:
    """Read the mistakes of a revision, by index.

    Raises:
        UserError: If the table is missing or malformed.
    """
    return _keyed(_read(revision, path, Mistake), lambda row: row.index, path, revision)


def read_counts(revision: Revision, path: str) -> dict[Pair, int]:
    """Read the number of test examples by (actual, predicted).

    Raises:
        UserError: If the table is missing or malformed.
    """
    rows = _keyed(_read(revision, path, Cell), lambda row: (row.actual, row.predicted), path, revision)
    return {pair: row.count for pair, row in rows.items()}


def read_classes(revision: Revision, path: str) -> dict[str, ClassScores]:
    """Read the scores by class.

    Raises:
        UserError: If the table is missing or malformed.
    """
    return _keyed(_read(revision, path, ClassScores), lambda row: row.label, path, revision)


def read_curves(revision: Revision, path: str, columns: Sequence[str]) -> list[dict[str, float]]:
    """Read columns of the training history, one dictionary per epoch, sorted by epoch; values may be NaN.

    Raises:
        UserError: If the table is missing or malformed.
    """
    rows = _read(revision, path, dict[str, float], ("epoch", *columns))
    if not all(math.isfinite(row["epoch"]) for row in rows):
        raise UserError(f"{path} of {revision.name}: an epoch is not a number")
    return sorted(rows, key=lambda row: row["epoch"])


def _keyed(rows: list[Value], key: Callable[[Value], Key], path: str, revision: Revision) -> dict[Key, Value]:
    found = {key(row): row for row in rows}
    if len(found) < len(rows):
        raise UserError(f"{path} of {revision.name}: two rows are about the same")
    return found


def _read(revision: Revision, path: str, schema: type[Value], columns: Sequence[str] = ()) -> list[Value]:
    """Read rows as instances of a schema, with all columns or only some."""
    where = f"{path} of {revision.name}"
    text = revision.text(path)
    if text is None:
        raise UserError(f"{where}: is missing")
    try:
        rows = list(islice(csv.DictReader(io.StringIO(text)), MAX_ROWS + 1))
    except csv.Error as error:
        raise UserError(f"{where}: is not CSV: {error}") from error
    if len(rows) > MAX_ROWS:
        raise UserError(f"{where}: expected at most {MAX_ROWS:,} rows")
    for position, row in enumerate(rows):
        row["position"] = position
    chosen = [{name: row.get(name) for name in columns} for row in rows] if columns else rows
    many: Any = Annotated[list[schema], ONE_PROBLEM]  # type: ignore[valid-type]
    found: list[Value] = validated(many, chosen, where)
    return found
