"""CSV files of a revision as typed rows. They come from the branch, so everything in them is checked."""

import csv
import io
import math
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from src.core.errors import UserError
from src.revision.parsing import validated
from src.revision.revision import Revision

MAX_TABLE_BYTES = 20_000_000
MAX_ROWS = 200_000
Pair = tuple[str, str]
Key = TypeVar("Key")
Value = TypeVar("Value")
# No real class or count is near the bounds. They keep the report's own sentences short.
Count = Annotated[int, Field(ge=0, lt=10**9)]
Label = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=60)]


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, allow_inf_nan=False)


class Mistake(_Row):
    """One test example that the model gets wrong; its place in the table is its place in the picture of all."""

    position: int
    index: Count = Field(description="place in the test set, from 0")
    actual: Label
    predicted: Label


class Cell(_Row):
    """Number of test examples of a class that the model takes for another or the same."""

    actual: Label
    predicted: Label
    count: Count


class ClassScores(_Row):
    """Scores of one class, and the number of its test examples."""

    label: Label = Field(alias="class")
    images: Count
    precision: float
    recall: float
    f1: float


def read_mistakes(revision: Revision, path: str) -> dict[int, Mistake]:
    """The mistakes of a revision, by index.

    Raises:
        UserError: If the table is missing or malformed.
    """
    return _keyed(_read(revision, path, Mistake), lambda row: row.index, path, revision)


def read_counts(revision: Revision, path: str) -> dict[Pair, int]:
    """Number of test examples by (actual, predicted).

    Raises:
        UserError: If the table is missing or malformed.
    """
    rows = _keyed(_read(revision, path, Cell), lambda row: (row.actual, row.predicted), path, revision)
    return {pair: row.count for pair, row in rows.items()}


def read_classes(revision: Revision, path: str) -> dict[str, ClassScores]:
    """Scores by class.

    Raises:
        UserError: If the table is missing or malformed.
    """
    return _keyed(_read(revision, path, ClassScores), lambda row: row.label, path, revision)


def read_curves(revision: Revision, path: str, columns: Sequence[str]) -> list[dict[str, float]]:
    """The named columns of the training history, one dictionary per epoch, sorted by epoch; values may be NaN.

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
    """The rows as a schema has them, of all columns or of some."""
    where = f"{path} of {revision.name}"
    text = revision.text(path, MAX_TABLE_BYTES)
    if text is None:
        raise UserError(f"{where}: is missing")
    try:
        rows = list(islice(csv.DictReader(io.StringIO(text)), MAX_ROWS + 1))
    except csv.Error as error:
        raise UserError(f"{where}: is not CSV: {error}") from error
    if len(rows) > MAX_ROWS:
        raise UserError(f"{where}: expected at most {MAX_ROWS:,} rows")
    chosen: list[dict[str, Any]] = [
        {name: row.get(name) for name in columns} if columns else {**row, "position": position}
        for position, row in enumerate(rows)
    ]
    return validated(list[schema], chosen, where)  # type: ignore[valid-type]
