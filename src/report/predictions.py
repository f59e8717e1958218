"""Differences between the new and the old model by example."""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property

from src.core.errors import UserError
from src.noise.significance import mcnemar_p
from src.report.policy import Examples
from src.report.tables import Mistake, Pair, read_counts, read_mistakes
from src.revision.revision import Revision


@dataclass(frozen=True)
class Predictions:
    """Two models on the same test examples.

    Attributes:
        examples: Size of the test set.
        old_errors: Number of examples that the old model gets wrong.
        new_errors: Number of examples that the new model gets wrong.
        lost: Mistakes that only the new model makes, by index.
        won: Mistakes that only the old model makes, by index.
        confusions: Change in the number of mistakes by (actual, predicted), largest change first.
    """

    examples: int
    old_errors: int
    new_errors: int
    lost: list[Mistake]
    won: list[Mistake]
    confusions: dict[Pair, int]

    @cached_property
    def p_value(self) -> float:
        """P-value of the exact McNemar test of lost and won examples."""
        return mcnemar_p(len(self.lost), len(self.won))


def compare_predictions(base: Revision, head: Revision, examples: Examples) -> Predictions | None:
    """Compare two models that were scored on the same data, example by example; None if the policy lists no tables.

    Raises:
        UserError: If a table is missing, malformed, or about other data.
    """
    wrong, counts = examples.wrong, examples.counts
    if not (wrong and counts):
        return None
    old_counts, new_counts = read_counts(base, counts), read_counts(head, counts)
    if _examples(old_counts) != _examples(new_counts):
        raise UserError(f"the data is the same, but {counts} has other numbers of examples")
    total = sum(new_counts.values())
    old, new = read_mistakes(base, wrong), read_mistakes(head, wrong)
    if total < 1 or any(index >= total for index in {*old, *new}):
        raise UserError(f"{wrong} names examples beyond those that {counts} counts")
    if any(old[index].actual != new[index].actual for index in old.keys() & new.keys()):
        raise UserError(f"the data is the same, but {wrong} has other labels for it")
    changes = {pair: new_counts.get(pair, 0) - old_counts.get(pair, 0) for pair in {*old_counts, *new_counts}}
    confused = [(pair, change) for pair, change in changes.items() if change and pair[0] != pair[1]]
    return Predictions(
        examples=total,
        old_errors=len(old),
        new_errors=len(new),
        lost=[new[index] for index in sorted(new.keys() - old.keys())],
        won=[old[index] for index in sorted(old.keys() - new.keys())],
        confusions=dict(sorted(confused, key=lambda item: (-abs(item[1]), item[0]))),
    )


def _examples(counts: dict[Pair, int]) -> Counter[str]:
    """Number of test examples by class."""
    found: Counter[str] = Counter()
    for (actual, _), count in counts.items():
        found[actual] += count
    return found
