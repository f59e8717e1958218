"""Is a loss more than another seed or chance explains? The decision table in docs/review.md."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from src.core.errors import UserError
from src.core.receipt import PARAMS_FILE
from src.noise.measurement import NOISE, Measurement, SeedNoise, find_measurement, parse_noise, seed_noise
from src.noise.significance import SIGNIFICANCE
from src.report.document import Data, Message
from src.report.metrics import Row, Standing, read_metric
from src.report.policy import Policy
from src.report.revision import Revision
from src.report.verdict import Outcome, Reason


@dataclass(frozen=True)
class Seeds:
    """The seed measurements of both recipes.

    Attributes:
        old: The measurement for the base's data and recipe, or None if they were not measured.
        new: The measurement for the head's, or None.
    """

    old: Measurement | None
    new: Measurement | None

    def noise(self, file: str, name: str) -> SeedNoise | None:
        """How much seeds alone change a metric, or None if not known."""
        return seed_noise(self.old, self.new, file, name)


def read_seeds(old: Revision, new: Revision, measured: str | None) -> Seeds:
    """The measurements that fit the two revisions.

    Args:
        old: What the change is compared with.
        new: The change.
        measured: Content of the base's metrics_noise.json, or None. Never the head's: a change cannot excuse itself.

    Raises:
        UserError: If it is malformed.
    """
    known = parse_noise(measured, f"{NOISE} of the base") if measured is not None else []
    return Seeds(
        *(find_measurement(known, revision.data, revision.params.get(PARAMS_FILE, {})) for revision in (old, new))
    )


def noise_reasons(base: Revision, head: Revision) -> list[Reason]:
    """Remarks on measurements that the change adds or edits: after it, they may excuse losses."""
    if head.noise == base.noise:
        return []
    try:
        parse_noise(head.noise or "[]", f"{NOISE} of {head.name}")
    except UserError as error:
        return [Reason(Outcome.FAIL, [Message(error)])]
    return [Reason(Outcome.PASS, [f"This change edits {NOISE}; it is judged by the base's."])]


def weigh(rows: Sequence[Row], p_chance: float | None, seeds: Seeds) -> list[Row]:
    """Decide whether seeds or chance explain the losses beyond the tolerance.

    Args:
        rows: All metrics, judged by the policy.
        p_chance: McNemar's p-value, or None if the models could not be compared image by image.
        seeds: The seed measurements.
    """
    return [_weigh(row, p_chance, seeds.noise(row.file, row.name)) for row in rows]


def _weigh(row: Row, p_chance: float | None, noise: SeedNoise | None) -> Row:
    if not row.gates or row.standing is not Standing.BROKEN or row.rule is None or row.change is None:
        return row
    if noise is None:
        seeds = "the effect of another seed is not known"
    elif (p_seeds := noise.p_value(row.change)) >= SIGNIFICANCE:
        why = f"{row.why}, but another seed changes as much (p = {p_seeds:.2g} over {noise.seeds} seeds)"
        return replace(row, standing=Standing.EXPLAINED, why=why)
    else:
        seeds = f"more than another seed changes (p = {p_seeds:.2g})"
    if not row.rule.mcnemar or p_chance is None:
        return replace(row, why=f"{row.why}; {seeds}")
    if p_chance >= SIGNIFICANCE:
        chance = f"chance on this test set gives as much (McNemar p = {p_chance:.2g})"
        return replace(row, standing=Standing.UNKNOWN, why=f"{row.why}; {chance}, and {seeds}")
    return replace(row, why=f"{row.why}; more than chance on this test set gives, and {seeds}")


def accumulated_reasons(reference: Revision, head: Revision, policy: Policy, measured: str | None) -> list[Reason]:
    """Whether many small losses add up: rules with `accumulated` are checked against the policy's reference.

    Args:
        reference: The commit that the policy names.
        head: The change.
        policy: The rules.
        measured: As for `read_seeds`.

    Raises:
        UserError: If the measurements are malformed.
    """
    seeds = read_seeds(reference, head, measured)
    since = [" since the policy's reference ", Data(reference.name)]
    reasons = []
    for file, rules in policy.metrics.items():
        for name, rule in rules.items():
            if rule.accumulated is None:
                continue
            old, new = (read_metric(revision, file, name).number for revision in (reference, head))
            if old is None or new is None or reference.data != head.data:
                problem = ": cannot be compared with the policy's reference "
                reasons.append(Reason(Outcome.UNKNOWN, [Data(name), problem, Data(reference.name)]))
            elif rule.exceeds(old, new, rule.accumulated):
                noise = seeds.noise(file, name)
                explained = noise is not None and noise.p_value(new - old) >= SIGNIFICANCE
                words = f"; may lose {rule.accumulated:.4g}{', but another seed changes as much' if explained else ''}"
                text = [Data(name), f": lost {rule.loss(old, new):.4g}", *since, words]
                reasons.append(Reason(Outcome.PASS if explained else Outcome.FAIL, text))
    return reasons


def no_reference(error: UserError) -> list[Reason]:
    """The reason given if there is no reference to compare with."""
    advice = "; name a commit of this clone as `reference` in metrics_policy.yaml"
    return [Reason(Outcome.UNKNOWN, ["losses since the policy's reference: ", Message(error), advice])]
