"""Settings: the params of a run without its seed. Which is the best, and how much of its lead seeds may explain."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from src.noise.significance import t_limit
from src.sweep.experiments import EVAL, TEST_SCORE, Result


@dataclass(frozen=True)
class Setting:
    """Runs that differ in their seeds alone.

    Attributes:
        params: All params but the seed.
        results: One for each seed.
    """

    params: dict[str, Any]
    results: list[Result]

    @property
    def score(self) -> float:
        """Mean over the seeds of what settings are chosen by."""
        return statistics.mean(result.score for result in self.results)

    @property
    def deviation(self) -> float | None:
        """Sample standard deviation of the score over the seeds; None for a single one."""
        return statistics.stdev(result.score for result in self.results) if len(self.results) > 1 else None

    @property
    def test_score(self) -> float:
        """Mean over the seeds of the score on the test set."""
        return statistics.mean(result.metrics[EVAL][TEST_SCORE] for result in self.results)


def group(results: Sequence[Result]) -> list[Setting]:
    """The settings of some runs, the best first."""
    found: dict[str, Setting] = {}
    for result in results:
        params = {name: value for name, value in result.run.params.items() if name != "seed"}
        found.setdefault(repr(sorted(params.items())), Setting(params, [])).results.append(result)
    return sorted(found.values(), key=lambda setting: -setting.score)


def seed_deviation(settings: Sequence[Setting]) -> tuple[float, int] | None:
    """How much seeds alone change the score.

    Returns:
        (standard deviation pooled over all settings with several seeds, its degrees of freedom), or None without such.
    """
    several = [setting for setting in settings if setting.deviation is not None]
    df = sum(len(setting.results) - 1 for setting in several)
    if not df:
        return None
    squares = sum((setting.deviation or 0.0) ** 2 * (len(setting.results) - 1) for setting in several)
    return math.sqrt(squares / df), df


def as_good(settings: Sequence[Setting]) -> list[Setting]:
    """Settings whose lag behind the best is within what seeds explain (Student's t, 95%, each on its own)."""
    noise = seed_deviation(settings)
    if noise is None:
        return []
    deviation, df = noise
    best, *others = settings

    def limit(other: Setting) -> float:
        return t_limit(df) * deviation * math.sqrt(1 / len(best.results) + 1 / len(other.results))

    return [other for other in others if best.score - other.score <= limit(other)]
