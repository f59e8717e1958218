"""How often the report's gate on the test accuracy raises an alarm if only the seed changes, and what loss it catches.

Uses the runs in recipes.json: every ordered pair of seeds is a change of the seed alone. Any verdict but a pass is an
alarm.
"""

import json
import statistics
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path

from benchmarks.recipes import MEASURED
from src.report.noise import ACCURACY
from src.report.policy import parse_policy
from src.report.revision import POLICY
from src.report.statistics import t_limit

FEWEST_SEEDS = 5  # which make 20 ordered pairs
STEP = 0.0001  # one image of 10,000
POWER = 0.8


def alarm_rate(accuracies: Sequence[float], tolerated: float, loss: float = 0.0) -> float:
    """Share of ordered pairs of seeds that do not pass if the second training also loses `loss`, in [0, 1].

    Args:
        accuracies: One for each seed.
        tolerated: What the policy lets the metric lose.
        loss: True loss of the change, in addition to the effect of the seeds.
    """
    limit = t_limit(len(accuracies) - 1) * 2**0.5 * statistics.stdev(accuracies)
    bar = max(tolerated, limit) + 1e-9
    pairs = list(permutations(accuracies, 2))
    return sum(old - new + loss > bar for old, new in pairs) / len(pairs)


def caught_loss(accuracies: Sequence[float], tolerated: float) -> float:
    """The smallest true loss that raises an alarm for a share POWER of the pairs, in steps of one image."""
    images = 0
    while alarm_rate(accuracies, tolerated, images * STEP) < POWER:
        images += 1
    return images * STEP


def rates() -> dict[str, tuple[int, float, float]]:
    """(seeds, false alarms, caught loss) of each recipe with enough seeds."""
    file, name = ACCURACY
    tolerated = parse_policy(Path(POLICY).read_text(), POLICY).metrics[file][name].allowed_loss(1.0)
    found = {}
    for recipe, entry in json.loads(MEASURED.read_text()).items():
        accuracies = [run["test_acc"] for run in entry["runs"]]
        if len(accuracies) >= FEWEST_SEEDS:
            found[recipe] = len(accuracies), alarm_rate(accuracies, tolerated), caught_loss(accuracies, tolerated)
    return found


def main() -> None:
    """Print a row for each recipe."""
    print("| recipe | seeds | pairs | false alarms | caught with 80% |\n|---|---|---|---|---|")
    for recipe, (seeds, alarms, loss) in rates().items():
        print(f"| {recipe} | {seeds} | {seeds * (seeds - 1)} | {alarms:.0%} | {loss:.2%} |")


if __name__ == "__main__":
    main()
