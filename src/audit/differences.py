"""Why two runs of one commit differ, and whether their metrics are as good."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeGuard

from src.audit.results import Results
from src.noise.measurement import NOISE, Measurement, seed_noise
from src.report.policy import Policy


@dataclass(frozen=True)
class Rules:
    """What decides whether other bytes are as good; never the branch's own.

    Attributes:
        policy: Names the metrics that count.
        noise: What other seeds change, for each recipe that was measured.
    """

    policy: Policy
    noise: list[Measurement]


def explain(committed: Results, again: Results, rules: Rules) -> tuple[bool, list[str]]:
    """Explain results whose bytes differ.

    Args:
        committed: Results of the commit.
        again: Results made from it here.
        rules: Those of the commit's base.

    Returns:
        (whether another machine or other versions explain the difference, and every metric that counts is within what
        another seed changes; lines to print).
    """
    if wrong := [path for path in sorted(committed.portable) if committed.outputs[path] != again.outputs.get(path)]:
        return False, [f"{', '.join(wrong)}: differs, though it does not depend on the machine."]
    reasons = list(machine_differences(committed, again))
    if not reasons:
        return False, ["Versions, device, threads and processor are the same, so these outputs should be, too."]
    lines = [f"- {reason}" for reason in reasons]
    same = [path for path in sorted(committed.passed_on) if committed.outputs[path] == again.outputs.get(path)]
    if committed.passed_on and len(same) == len(committed.passed_on):
        return False, [
            *lines,
            f"{', '.join(same)}: the same bytes, so no machine or version explains what else differs.",
        ]
    compared = list(metric_differences(committed, again, rules))
    if not compared:
        return False, [*lines, "No metric counts: the base's rules name none."]
    return all(within for _, within in compared), [*lines, *(line for line, _ in compared)]


def machine_differences(committed: Results, again: Results) -> Iterator[str]:
    """Known differences between this machine and the one that made the results, one line each."""
    for name, before in committed.made_with.items():
        now = again.made_with.get(name)
        if before != now:
            yield f"{name}: {before} before, {now} now"


def metric_differences(committed: Results, again: Results, rules: Rules) -> Iterator[tuple[str, bool]]:
    """Each metric that can fail a change: a line about it, and whether it is within what another seed changes.

    Args:
        committed: Results of the commit.
        again: Results made from it here.
        rules: Those of the commit's base.
    """
    measured = committed.measurement(rules.noise, rules.policy.data)
    for path, named in rules.policy.metrics.items():
        for name in (name for name, rule in named.items() if rule.required):
            before, now = (results.metrics.get(path, {}).get(name) for results in (committed, again))
            noise = seed_noise(measured, measured, path, name)
            line = f"{name}: {before} before, {now} now; "
            if not (_is_number(before) and _is_number(now)):
                yield f"{line}not a number in both", False
            elif noise is None:
                yield (
                    f"{line}the base's {NOISE} does not have this data and recipe, so nobody knows if it is noise",
                    False,
                )
            else:
                within = abs(now - before) <= noise.limit
                words = "within" if within else "more than"
                yield (
                    f"{line}{words} what another seed changes "
                    f"(95% by less than {noise.limit:.2g}, over {noise.seeds} seeds)",
                    within,
                )


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and math.isfinite(value)
