"""How often the report's gate on the test accuracy raises an alarm if only the seed changes, and what loss it catches.

Any verdict but a pass is an alarm. Uses the runs in recipes.json. The spread of a few seeds says nothing about those
seeds themselves: no two of five numbers differ by more than what Student's t allows for their own spread. So each pair
of seeds is judged by the spread of the others, and the expected rates are simulated.
"""

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import numpy as np

from benchmarks.recipes import MEASURED
from src.noise.measurement import ACCURACY
from src.noise.significance import t_limit
from src.report.policy import POLICY, parse_policy

MIN_SEEDS = 5  # which make 20 ordered pairs
STEP = 0.0001  # one image of 10,000
POWER = 0.8
DRAWS = 100_000


@dataclass(frozen=True)
class Rates:
    """The gate's errors for one recipe.

    Attributes:
        seeds: Number of trainings.
        alarms: Ordered pairs of them that do not pass, each judged by the spread of the others.
        expected: Share of changes of the seed alone that do not pass, for normal accuracies of this spread.
        caught: The smallest true loss that does not pass with probability POWER, in steps of one image.
    """

    seeds: int
    alarms: int
    expected: float
    caught: float

    @property
    def row(self) -> str:
        """The figures as cells of a table."""
        pairs = self.seeds * (self.seeds - 1)
        return f"{self.seeds} | {self.expected:.1%} | {self.alarms} of {pairs} | {self.caught:.2%}"


def bar(std: float, seeds: int, tolerated: float) -> float:
    """The largest loss that passes.

    Args:
        std: Sample standard deviation of the metric.
        seeds: Number of trainings that it was measured over, at least 2.
        tolerated: Largest loss that the policy tolerates.
    """
    return max(tolerated, t_limit(seeds - 1) * 2**0.5 * std) + 1e-9


def left_out_alarms(accuracies: Sequence[float], tolerated: float) -> int:
    """Ordered pairs of seeds that do not pass, each judged by the spread of the other seeds."""
    alarms = 0
    for first, second in permutations(range(len(accuracies)), 2):
        others = [acc for seed, acc in enumerate(accuracies) if seed not in (first, second)]
        loss = accuracies[first] - accuracies[second]
        alarms += loss > bar(statistics.stdev(others), len(others), tolerated)
    return alarms


def margins(std: float, seeds: int, tolerated: float) -> np.ndarray:
    """What a change of the seed alone could lose besides and still pass, simulated DRAWS times.

    Each time, seeds are measured, and two others are compared. Below 0, the change of the seed alone is an alarm.

    Args:
        std: True standard deviation of the accuracy between seeds, which are normal.
        seeds: Number of seeds that are measured, at least 2.
        tolerated: Largest loss that the policy tolerates.
    """
    random = np.random.default_rng(0)
    measured = std * random.standard_normal((DRAWS, seeds)).std(axis=1, ddof=1)
    lost = std * 2**0.5 * random.standard_normal(DRAWS)
    return np.maximum(tolerated, t_limit(seeds - 1) * 2**0.5 * measured) - lost


def rates() -> dict[str, Rates]:
    """The gate's errors for each recipe with enough seeds."""
    file, name = ACCURACY
    tolerated = parse_policy(Path(POLICY).read_text(), POLICY).metrics[file][name].allowed_loss(1.0)
    found = {}
    for recipe, entry in json.loads(MEASURED.read_text()).items():
        accuracies = [run["test_acc"] for run in entry["runs"]]
        if len(accuracies) < MIN_SEEDS:
            continue
        seeds = len(accuracies)
        simulated = margins(statistics.stdev(accuracies), seeds, tolerated)
        caught = math.ceil(np.quantile(simulated, POWER) / STEP) * STEP
        alarms = left_out_alarms(accuracies, tolerated)
        found[recipe] = Rates(seeds, alarms, float(np.mean(simulated < 0)), caught)
    return found


def main() -> None:
    """Print a row for each recipe."""
    print("| recipe | seeds | false alarms expected | in pairs of seeds | caught with 80% |\n|---|---|---|---|---|")
    for recipe, found in rates().items():
        print(f"| {recipe} | {found.row} |")


if __name__ == "__main__":
    main()
