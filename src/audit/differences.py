"""Why two runs of one commit differ, and whether their metrics are as good."""

from collections.abc import Iterator

from src.audit.results import Results
from src.noise.measurement import NOISE, Measurement, seed_noise
from src.report.policy import Policy
from src.report.revision import POLICY


def explain(committed: Results, again: Results, policy: Policy, measured: Measurement | None) -> tuple[bool, list[str]]:
    """Explain results whose bytes differ.

    Args:
        committed: Results of the commit.
        again: Results made from it here.
        policy: Which metrics gate.
        measured: The seeds measured for this data and recipe, or None.

    Returns:
        (whether another machine or other versions explain the difference and no metric changed by more than another
        seed changes it, lines to print).
    """
    if wrong := [path for path in sorted(committed.portable) if committed.outputs[path] != again.outputs.get(path)]:
        return False, [f"{', '.join(wrong)}: differs, though it does not depend on the machine."]
    reasons = list(machine_differences(committed, again))
    if not reasons:
        return False, ["Versions, device, threads and processor are the same, so these outputs should be, too."]
    lines = [f"- {reason}" for reason in reasons]
    compared = list(compare_metrics(committed, again, policy, measured))
    lines += [line for line, _ in compared]
    if compared:
        lines.append(f"Nothing else was compared: no other metric gates in {POLICY} and is in {NOISE}.")
    else:
        lines.append(f"{NOISE} does not have this data and recipe, so whether this is noise cannot be told.")
    return bool(compared) and all(within for _, within in compared), lines


def machine_differences(committed: Results, again: Results) -> Iterator[str]:
    """Known differences between this machine and the one that made the results, one line each."""
    for name, before in committed.made_with.items():
        now = again.made_with.get(name)
        if before != now:
            yield f"{name}: {before} before, {now} now"


def compare_metrics(
    committed: Results, again: Results, policy: Policy, measured: Measurement | None
) -> Iterator[tuple[str, bool]]:
    """Each metric that gates and whose seed noise is known: a line about it, and whether a seed changes it as much.

    Args:
        committed: Results of the commit.
        again: Results made from it here.
        policy: Which metrics gate.
        measured: The seeds measured for this data and recipe, or None.
    """
    for path, rules in policy.metrics.items():
        for name in (name for name, rule in rules.items() if rule.gates and name in committed.metrics.get(path, {})):
            if noise := seed_noise(measured, measured, path, name):
                before, now = (results.metrics[path][name] for results in (committed, again))
                within = abs(now - before) <= noise.limit
                words = "within" if within else "more than"
                yield (
                    f"{name}: {before} before, {now} now; {words} what another seed changes "
                    f"(95% by less than {noise.limit:.2g}, over {noise.seeds} seeds)",
                    within,
                )
