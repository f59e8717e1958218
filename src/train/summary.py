"""Final and best scores of a training, as metrics that DVC compares."""

# The lowest loss is the best, the highest of everything else.
FINAL = ("loss", "acc", "precision", "recall", "f1")
BEST = {"val_loss": min, "val_acc": max, "val_f1": max}


def summary(rows: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """The metrics of a history.

    Args:
        rows: Logged values of each epoch, at least one; names that were not logged are left out.

    Returns:
        `final`: the last epoch's values; `best`: the best value of each validation score over all epochs, and the epoch
        of the best accuracy (the first of several). Rounded to six decimals.
    """
    last = rows[-1]
    final = {name: last[name] for part in ("", "val_") for name in (part + score for score in FINAL) if name in last}
    best = {name: choose(row[name] for row in rows) for name, choose in BEST.items() if name in last}
    if "val_acc" in last:
        best["epoch"] = max(rows, key=lambda row: row["val_acc"])["epoch"]
    return {"final": _rounded(final), "best": _rounded(best)}


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 6) for name, value in values.items()}
