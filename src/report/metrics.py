"""Metrics of two revisions, judged by the policy."""

import enum
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from src.report.policy import Policy, Rule
from src.report.revision import Revision


class Standing(enum.Enum):
    """How one metric stands against the policy."""

    HOLDS = "holds"
    EXPLAINED = "broken, and explained by the seed"
    BROKEN = "broken"
    UNKNOWN = "could not tell"
    NO_RULE = "no rule"


@dataclass(frozen=True)
class Reading:
    """One metric in one revision: a finite number, or why there is none.

    Attributes:
        number: The value, or None.
        problem: Why there is no number, or an empty string.
        found: What the file holds instead of a number, or why it cannot be read, as text; empty if there is nothing.
    """

    number: float | None
    problem: str = ""
    found: str = ""

    @property
    def missing(self) -> bool:
        """Whether the revision does not have this metric."""
        return self.problem == MISSING


MISSING = "missing"
ELSEWHERE = "its file is not in git, and nothing is fetched"


@dataclass(frozen=True)
class Row:
    """One metric: its two readings, and the policy's judgement.

    Attributes:
        file: The file that holds it.
        name: Its name there, with dots between the levels.
        label: Its name, with its file if another file has a metric of the same name.
        old: Reading of the base.
        new: Reading of the head.
        rule: The policy's rule for it, or None.
        standing: Whether the rule holds.
        why: The reason for `standing`, in our own words; may be empty.
    """

    file: str
    name: str
    label: str
    old: Reading
    new: Reading
    rule: Rule | None
    standing: Standing
    why: str

    @property
    def gates(self) -> bool:
        """Whether the policy lets this metric decide."""
        return self.rule is not None and self.rule.gates

    @property
    def change(self) -> float | None:
        """New minus old, or None if either is not a number."""
        if self.old.number is None or self.new.number is None:
            return None
        return self.new.number - self.old.number


def compare_metrics(base: Revision, head: Revision, policy: Policy, incomparable: str = "") -> list[Row]:
    """Every metric that either revision or the policy names; those that gate come first, then those with a rule.

    Args:
        base: What the change is compared with.
        head: The change.
        policy: The rules.
        incomparable: Why two numbers cannot be compared; empty if they can.
    """
    rows = []
    found = list(_names(base, head, policy))
    files = Counter(name for _, name in found)
    for file, name in found:
        old, new, rule = read_metric(base, file, name), read_metric(head, file, name), policy.rule(file, name)
        standing, why = _judge(rule, old, new, base.has_results, incomparable)
        label = name if name and files[name] == 1 else f"{file}:{name}".removesuffix(":")
        rows.append(Row(file, name, label, old, new, rule, standing, why))
    return sorted(rows, key=lambda row: (not row.gates, row.rule is None))


def _names(base: Revision, head: Revision, policy: Policy) -> Iterator[tuple[str, str]]:
    """(file, metric) of both revisions and the policy, each once, in the order of the head's files."""
    unreadable = {file: {"": None} for file in [*head.unreadable, *base.unreadable] if file not in policy.metrics}
    sources: list[dict[str, Any]] = [head.metrics, base.metrics, policy.metrics, unreadable]
    yield from dict.fromkeys((file, name) for source in sources for file, names in source.items() for name in names)


def read_metric(revision: Revision, file: str, name: str) -> Reading:
    """One metric of a revision, by its file and its name."""
    if file in revision.unreadable:
        return Reading(None, "its file cannot be read", revision.unreadable[file])
    if file in revision.elsewhere:
        return Reading(None, ELSEWHERE)
    if name not in revision.metrics.get(file, {}):
        return Reading(None, MISSING)
    value = revision.metrics[file][name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return Reading(None, "not a number", str(value))
    try:
        number = float(value)
    except OverflowError:  # a whole number of more than 308 digits
        number = math.inf
    if math.isfinite(number):
        return Reading(number)
    return Reading(None, "NaN" if math.isnan(number) else "infinite")


def _judge(
    rule: Rule | None, old: Reading, new: Reading, has_baseline: bool, incomparable: str
) -> tuple[Standing, str]:
    if rule is None:
        return Standing.NO_RULE, _remark(old, new, has_baseline)
    if new.problem == ELSEWHERE:
        return Standing.UNKNOWN, new.problem
    if new.number is None:
        neither = new.missing and old.missing and has_baseline
        return Standing.BROKEN, "the policy names it, but neither revision has it" if neither else new.problem
    if not has_baseline:
        return Standing.HOLDS, "no baseline"
    if old.missing:
        return Standing.UNKNOWN, "the base lacks it, so any value would pass"
    if incomparable:
        return Standing.UNKNOWN, incomparable
    if old.number is None:
        return Standing.UNKNOWN, f"the old value is not a number: {old.problem}"
    loss, allowed = rule.loss(old.number, new.number), rule.allowed_loss(old.number)
    if not rule.exceeds(old.number, new.number, allowed):
        return Standing.HOLDS, f"may lose {allowed:.4g}"
    return Standing.BROKEN, f"lost {loss:.4g}, may lose {allowed:.4g}"


def _remark(old: Reading, new: Reading, has_baseline: bool) -> str:
    if new.missing and has_baseline:
        return "removed"
    if new.number is None:
        return new.problem
    if not has_baseline:
        return "no baseline"
    if old.missing:
        return "added"
    return "" if old.number is not None else f"the old value is not a number: {old.problem}"
