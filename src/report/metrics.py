"""Metrics of two revisions, judged by the policy; the decision table is in docs/review.md."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from src.core.errors import UserError
from src.core.values import finite
from src.noise.measurement import SeedNoise
from src.noise.significance import SIGNIFICANCE
from src.report.change import Change
from src.report.finding import Finding, Level, Text
from src.report.policy import Rule
from src.revision.revision import Revision

Reading = float | Text  # One metric in one revision: a finite number, or why there is none.
MISSING = Text("missing")
NOT_IN_GIT = Text(
    "its file is in DVC's cache, which the report does not read; `cache: false` in dvc.yaml puts it in git"
)


@dataclass(frozen=True)
class Row:
    """One metric: its two readings, and the policy's judgement.

    Attributes:
        file: The metrics file.
        name: Name in the file, with dots between levels.
        label: The name, with the file if another file has a metric of the same name.
        old: Reading of the base.
        new: Reading of the head.
        rule: The policy's rule, or None.
        level: NOTE if the rule holds, or if there is none; UNSURE if the metric is required, but of other data.
        why: Why the rule is violated, or why a violation is accepted; None if neither applies.
    """

    file: str
    name: str
    label: str
    old: Reading
    new: Reading
    rule: Rule | None
    level: Level
    why: Text | None

    @property
    def required(self) -> bool:
        """Whether the policy lets this metric decide."""
        return self.rule is not None and self.rule.required

    @property
    def change(self) -> float | None:
        """New minus old, or None if either is not a number."""
        return self.new - self.old if isinstance(self.old, float) and isinstance(self.new, float) else None


def judge_metrics(change: Change) -> list[Row]:
    """Judge every metric of either revision or the policy; required ones come first, then those with a rule."""
    names = _names(change)
    files, rules = Counter(name for _, name in names), change.policy.rules
    rows = []
    for file, name in names:
        label = name if name and files[name] == 1 else f"{file}:{name}".removesuffix(":")
        old, new = read_metric(change.base, file, name), read_metric(change.head, file, name)
        rule = rules.get((file, name))
        level, why = _judge(change, file, name, old, new, rule) if rule else (Level.NOTE, None)
        rows.append(Row(file, name, label, old, new, rule, level, why))
    return sorted(rows, key=lambda row: (not row.required, row.rule is None))


def read_metric(revision: Revision, file: str, name: str) -> Reading:
    """Read one metric of a revision."""
    values = revision.metrics.get(file, {})
    if isinstance(values, UserError):
        return Text("its file cannot be read: {}", values)
    if values is None:
        return NOT_IN_GIT
    if name not in values:
        return MISSING
    value = values[name]
    if (number := finite(value)) is not None:
        return number
    if isinstance(value, bool) or not isinstance(value, int | float):
        return Text("not a number: {}", str(value))
    return Text("infinite" if abs(value) > 0 else "NaN")


def as_number(reading: Reading) -> float | None:
    """The number, or None."""
    return reading if isinstance(reading, float) else None


def _names(change: Change) -> list[tuple[str, str]]:
    """(file, metric) of both revisions and the policy, each once, in the order of the head's files."""
    policy = change.policy.metrics
    sources: list[dict[str, Any]] = [change.head.metrics, change.base.metrics, policy]
    found: dict[tuple[str, str], None] = {}
    for file, values in (item for source in sources for item in source.items()):
        # An unreadable file has a single row, unless the policy lists its metrics.
        names = values if isinstance(values, dict) else () if file in policy else ("",)
        found |= {(file, name): None for name in names}
    return list(found)


def _judge(change: Change, file: str, name: str, old: Reading, new: Reading, rule: Rule) -> tuple[Level, Text | None]:
    """Judge a metric by its rule, with the reason."""
    if new == NOT_IN_GIT:
        return Level.UNSURE, NOT_IN_GIT
    if isinstance(new, Text):
        if new == old == MISSING and change.base.has_results:
            if isinstance(read_metric(change.rules, file, name), float):
                return Level.UNSURE, Text(
                    "missing, since the branch began before {} had it: merge that", change.rules.name
                )
            return Level.FAIL, Text("the policy names it, but neither revision has it")
        return Level.FAIL, new
    if not change.comparable:
        return Level.UNSURE if rule.required and change.base.has_results else Level.NOTE, None
    if old == MISSING:
        return Level.UNSURE, Text("the base lacks it, so any value would pass")
    if isinstance(old, Text):
        return Level.UNSURE, Text("the old value is not a number: {}", old)
    if not rule.exceeds(old, new, rule.allowed_loss(old)):
        return Level.NOTE, None
    predictions = change.predictions
    p_chance = predictions.p_value if predictions and rule.mcnemar else None
    return weigh(new - old, p_chance, change.noise(change.base, file, name))


def weigh(difference: float, p_chance: float | None, noise: SeedNoise | None) -> tuple[Level, Text]:
    """Decide whether seeds or chance explain a loss beyond the tolerance.

    Args:
        difference: New minus old value.
        p_chance: McNemar's p-value, or None if the test does not apply or the models could not be compared.
        noise: How much seeds alone change the metric, or None if unknown.
    """
    if noise is not None and noise.p_value(difference) >= SIGNIFICANCE:
        return Level.NOTE, Text("lost more than allowed, but another seed changes as much")
    if p_chance is not None and p_chance >= SIGNIFICANCE:
        seeds = "another seed does not" if noise else "the effect of another seed is not known"
        return Level.UNSURE, Text(f"lost more than allowed; chance on this test set gives as much, {seeds}")
    return Level.FAIL, Text("lost more than allowed")


def metrics(change: Change) -> Iterator[Finding]:
    """Required metrics that violate the policy; one finding for all with the same reason."""
    reasons: dict[tuple[Level, Text], list[str]] = {}
    for row in judge_metrics(change):
        if row.required and row.why is not None:
            reasons.setdefault((row.level, row.why), []).append(row.label)
    for (level, why), labels in reasons.items():
        yield Finding(level, Text("{}: {}", labels, why))
