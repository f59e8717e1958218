"""The effect of each param on the validation accuracy, averaged over the values of the others."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from src.noise.significance import t_p
from src.sweep.records import Result
from src.sweep.settings import Setting, score
from src.sweep.spec import Interval, Sweep


@dataclass(frozen=True)
class Level:
    """The runs with one value of a param.

    Attributes:
        value: The value.
        runs: How many.
        mean: Mean score.
        deviation: Sample standard deviation of the score; None for a single run.
    """

    value: Any
    runs: int
    mean: float
    deviation: float | None


@dataclass(frozen=True)
class Trend:
    """Whether the score rises or falls with a param that was drawn.

    Attributes:
        settings: How many.
        correlation: Spearman's rank correlation, from -1 to 1; NaN if all scores are the same.
        p: Its two-sided p-value by Student's t, which is rough below ten settings; NaN likewise.
    """

    settings: int
    correlation: float
    p: float


def levels(name: str, results: Sequence[Result]) -> list[Level]:
    """Runs by the value of a param, smallest first if they are numbers."""
    scores: dict[Any, list[float]] = {}
    for result in results:
        scores.setdefault(getattr(result.run.params, name), []).append(score(result))
    return [
        Level(value, len(found), statistics.mean(found), statistics.stdev(found) if len(found) > 1 else None)
        for value, found in sorted(scores.items())
    ]


def trend(name: str, settings: Sequence[Setting]) -> Trend | None:
    """Rank correlation of a param and the score; None below four settings, which say nothing.

    Seeds of one setting are averaged first: they share the value, and counting each would make chance look certain.
    """
    n = len(settings)
    if n < 4:
        return None
    pairs = pd.DataFrame({"x": [s.params[name] for s in settings], "y": [s.score for s in settings]})
    # Spearman's correlation is Pearson's of the ranks.
    rho = float(np.corrcoef(pairs.rank().to_numpy().T)[0, 1]) if pairs.nunique().min() > 1 else math.nan
    if math.isnan(rho):
        return Trend(n, rho, math.nan)
    rest = max(0.0, 1 - rho * rho)
    return Trend(n, rho, t_p(rho * math.sqrt((n - 2) / rest) if rest else math.inf, n - 2))


def compared(sweep: Sweep) -> list[str]:
    """Params whose effect is of interest: all that vary but the seed, whose effect is noise."""
    return [name for name in sweep.varied if name != "seed"]


def is_drawn(sweep: Sweep, name: str) -> bool:
    """Whether a param was drawn from an interval."""
    return isinstance(sweep.params[name], Interval)
