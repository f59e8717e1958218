"""Explains why two runs of one commit differ, and whether their metrics are equally good."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pathspec import GitIgnoreSpec

from src.audit.results import Results
from src.core.values import finite
from src.noise.measurement import NOISE, Measurement, seed_noise
from src.report.policy import Policy


@dataclass(frozen=True)
class Rules:
    """Rules that decide whether different bytes are equally good; they never come from the branch.

    Attributes:
        policy: Lists the required metrics.
        noise: Variation between seeds, for each measured recipe.
        ignored: Patterns of files that git ignores, and that DVC ignores.
    """

    policy: Policy
    noise: list[Measurement]
    ignored: Sequence[tuple[GitIgnoreSpec, GitIgnoreSpec]] = ()


def explain(committed: Results, again: Results, rules: Rules) -> tuple[bool, list[str]]:
    """Explain why the committed results and those of a new run differ, by the rules of the base.

    Returns:
        (whether a different machine or different versions explain the difference and every required metric is within
        seed noise; lines to print).
    """
    same = {path for path, oid in committed.outputs.items() if again.outputs.get(path) == oid}
    if wrong := sorted(committed.portable - same):
        return False, [f"{', '.join(wrong)}: differs, though it does not depend on the machine."]
    reasons = [
        f"- {name}: {before} before, {again.made_with.get(name)} now"
        for name, before in committed.made_with.items()
        if before != again.made_with.get(name)
    ]
    if not committed.made_with:
        return False, ["No receipt says what made these outputs, so nothing explains why they differ."]
    if not reasons:
        return False, ["Versions, device, threads and processor are the same, so these outputs should be, too."]
    if committed.passed_on and committed.passed_on <= same:
        names = ", ".join(sorted(committed.passed_on))
        return False, [*reasons, f"{names}: the same bytes, so no machine or version explains what else differs."]
    compared = list(_compare_metrics(committed, again, rules))
    if not compared:
        return False, [*reasons, "No metric counts: the base requires none."]
    return all(within for _, within in compared), [*reasons, *(line for line, _ in compared)]


def _compare_metrics(committed: Results, again: Results, rules: Rules) -> Iterator[tuple[str, bool]]:
    """For each required metric, yield a line to print, and whether the metric is within seed noise."""
    measured = committed.measurement(rules.noise, rules.policy.data)
    for path, name in rules.policy.required:
        before, now = (results.metrics.get(path, {}).get(name) for results in (committed, again))
        noise = seed_noise(measured, measured, path, name)
        within = False
        one, other = finite(before), finite(now)
        if one is None or other is None:
            words = "not a number in both"
        elif noise is None:
            words = f"the base's {NOISE} does not have this data and recipe, so it may not be noise"
        else:
            within = abs(other - one) <= noise.limit
            limit = f"(95% below {noise.limit:.2g}, over {noise.seeds} seeds)"
            words = f"{'within' if within else 'beyond'} seed noise {limit}"
        yield f"{name}: {before} before, {now} now; {words}", within
