"""A training run's final and best scores, as metrics that DVC compares."""

from src.train.scores import CHARTED, SCORES


def summary(rows: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """The metrics of a history.

    Args:
        rows: Logged values of each epoch, at least one; names that were not logged are left out.

    Returns:
        `final`: the last epoch's values; `best`: the best value of each charted validation score, and the epoch of the
        best accuracy (the first in a tie). Rounded to six decimals.
    """
    last = rows[-1]
    names = [prefix + score.name for prefix in ("", "val_") for score in SCORES]
    final = {name: last[name] for name in names if name in last}
    columns = {f"val_{score.name}": score for score in CHARTED}
    best = {name: score.best(row[name] for row in rows) for name, score in columns.items() if name in last}
    if "val_acc" in last:
        best["epoch"] = max(rows, key=lambda row: row["val_acc"])["epoch"]
    return {"final": _rounded(final), "best": _rounded(best)}


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 6) for name, value in values.items()}
