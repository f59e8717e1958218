"""How much a metric varies between trainings that differ only in the seed, as recorded in metrics_noise.json.

A measurement is valid only for the data and the recipe that it was made with.
"""

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from src.core.values import same
from src.noise.significance import split_variance, t_limit, t_p
from src.revision.parsing import Strict, parse, validated
from src.revision.revision import Revision

NOISE = "metrics_noise.json"
Place = tuple[str, str]  # File and name of a metric.
Count = Annotated[int, Field(ge=0)]


class Spread(Strict):
    """One metric over several seeds."""

    mean: float
    std: float = Field(ge=0, description="sample standard deviation, in the metric's unit")


class Measurement(Strict):
    """Results of several trainings that differ only in the seed."""

    data: str = Field(description="hash of the data in dvc.lock, a folder's if it is in several files")
    params: dict[str, Any] = Field(description="params.yaml without the seed: the recipe")
    seeds: list[int] = Field(min_length=2)
    machine: str
    metrics: dict[str, dict[str, Spread]] = Field(description="by file and name")
    wrong_in: list[Count] = Field(
        default=[], description="wrong_in[k]: number of test examples that exactly k of the seeds get wrong"
    )

    def split(self, accuracy: Place) -> tuple[float, float]:
        """Split the standard deviation of the accuracy between seeds: luck with these test examples, and the rest.

        The rest is the standard deviation on unlimited test examples, or 0 if the estimated variance is negative.
        """
        file, name = accuracy
        luck, real = split_variance(self.metrics[file][name].std ** 2, self.wrong_in)
        return math.sqrt(luck), math.sqrt(max(0.0, real))


@dataclass(frozen=True)
class SeedNoise:
    """Difference in one metric that seeds alone cause between two trainings, one of each recipe.

    Attributes:
        std: Standard deviation of the difference, in the metric's unit.
        df: Degrees of freedom of that estimate.
        seeds: Number of trainings measured, summed over both recipes if there are two.
    """

    std: float
    df: int
    seeds: int

    def p_value(self, change: float) -> float:
        """Two-sided p-value of a change by Student's t: how often seeds alone cause a change as large."""
        return t_p(change / self.std if self.std else math.inf, self.df) if change else 1.0

    @property
    def limit(self) -> float:
        """Limit below which 95% of the differences between seeds lie."""
        return t_limit(self.df) * self.std


def read_noise(revision: Revision) -> list[Measurement]:
    """Read the measurements of a revision; empty if it has no file.

    Raises:
        UserError: If the file is malformed.
    """
    return revision.tree.load(list[Measurement], NOISE) or []


def parse_noise(text: str, where: str) -> list[Measurement]:
    """Parse the text of metrics_noise.json; errors name the file as `where`.

    Raises:
        UserError: If the text is malformed.
    """
    return validated(list[Measurement], parse(text.encode(), NOISE, where), where)


def find_measurement(
    measurements: Sequence[Measurement], data: str | None, params: Mapping[str, Any]
) -> Measurement | None:
    """Find the measurement of this recipe, with any seed, on data with this hash in dvc.lock; None if missing."""
    recipe = _without_seed(params)
    return next((found for found in measurements if found.data == data and same(found.params, recipe)), None)


def seed_noise(old: Measurement | None, new: Measurement | None, file: str, name: str) -> SeedNoise | None:
    """Compute how much seeds alone change a metric between two recipes; None if either was not measured."""
    if old is None or new is None or any(name not in one.metrics.get(file, {}) for one in (old, new)):
        return None
    if old == new:
        return SeedNoise(math.sqrt(2) * old.metrics[file][name].std, len(old.seeds) - 1, len(old.seeds))
    variances = [one.metrics[file][name].std ** 2 for one in (old, new)]
    counts = [len(one.seeds) for one in (old, new)]
    # Single trainings are compared, not means, so each recipe contributes its whole variance (Welch and Satterthwaite).
    doubt = sum(variance**2 / (count - 1) for variance, count in zip(variances, counts, strict=True))
    df = math.floor(sum(variances) ** 2 / doubt + 1e-6) if doubt else min(counts) - 1  # Whole numbers stay so.
    return SeedNoise(math.sqrt(sum(variances)), df, sum(counts))


def measure_noise(
    data: str, params: Mapping[str, Any], machine: str, images: int, runs: Sequence[Mapping[str, Any]]
) -> Measurement:
    """Summarise at least 2 trainings of one recipe that differ only in the seed.

    Args:
        data: Hash of the data in dvc.lock.
        params: The recipe, with or without its seed.
        machine: Description of the machine.
        images: Size of the test set.
        runs: For each training its `seed`, `wrong` (indices of misclassified test images) and `metrics` by file and
            name.
    """
    seeds_wrong = [0] * images
    for run in runs:
        for index in run["wrong"]:
            seeds_wrong[index] += 1
    metrics = {
        file: {name: _spread([run["metrics"][file][name] for run in runs]) for name in names}
        for file, names in runs[0]["metrics"].items()
    }
    return Measurement(
        data=data,
        params=_without_seed(params),
        seeds=[run["seed"] for run in runs],
        machine=machine,
        metrics=metrics,
        wrong_in=[seeds_wrong.count(seeds) for seeds in range(len(runs) + 1)],
    )


def updated(measurements: Sequence[Measurement], new: Measurement) -> list[Measurement]:
    """Add a measurement; it replaces an older one of the same data and recipe."""
    return [one for one in measurements if (one.data, one.params) != (new.data, new.params)] + [new]


def format_noise(measurements: Sequence[Measurement]) -> str:
    """Format measurements as metrics_noise.json, which `parse_noise` reads."""
    return json.dumps([one.model_dump() for one in measurements], indent=2) + "\n"


def _spread(values: Sequence[float]) -> Spread:
    return Spread(mean=round(statistics.mean(values), 8), std=round(statistics.stdev(values), 8))


def _without_seed(params: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in params.items() if name != "seed"}
