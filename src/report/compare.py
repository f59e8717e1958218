"""From two revisions to a document and a verdict."""

from collections.abc import Sequence

from src.core.errors import UserError
from src.report.behaviour import Behaviour, compare_behaviour
from src.report.comparable import INCOMPARABLE, comparability, gating_reasons
from src.report.consistency import contradictions
from src.report.definitions import compare_definitions, definition_reasons, definition_section
from src.report.document import Data, Document, Message, Sentence, listed
from src.report.evidence import noise_reasons, read_seeds, weigh
from src.report.metrics import compare_metrics
from src.report.policy import Policy, parse_policy
from src.report.receipts import receipt_reasons
from src.report.repeats import repeat_reasons
from src.report.revision import POLICY, Revision
from src.report.sections import (
    behaviour_section,
    changes_section,
    curves_section,
    metrics_section,
    noise_section,
    stale_section,
    unknown_section,
    verdict_section,
)
from src.report.verdict import Outcome, Reason, Verdict, decide

TITLE = "What this change does to the metrics"
REPRODUCED = {
    "yes": Reason(Outcome.PASS, ["reproduced: the pipeline ran again and gave these results"]),
    "no": Reason(Outcome.FAIL, ["not reproduced: the pipeline ran again and did not give these results, or failed"]),
    "not-tried": Reason(Outcome.PASS, ["not tried: the pipeline was not run again"]),
}


def compare(
    base: Revision, head: Revision, reproduced: str = "not-tried", others: Sequence[Reason] = ()
) -> tuple[Document, Outcome]:
    """Compare two revisions.

    Args:
        base: What the change is compared with.
        head: The change.
        reproduced: Result of running the head's pipeline again, a key of REPRODUCED.
        others: Reasons found elsewhere.

    Raises:
        UserError: If neither revision has a usable policy, or the base's measured noise is malformed.
    """
    policy, remark, policy_error = choose_policy(base, head)
    definitions = compare_definitions(base, head)
    comparable = comparability(base, head, policy)
    incomparable = any(reason.outcome is Outcome.UNKNOWN for reason in comparable)
    behaviour, seeds = _behaviour(base, head), read_seeds(base, head, base.noise)
    p_chance = behaviour.p_value if isinstance(behaviour, Behaviour) else None
    rows = weigh(compare_metrics(base, head, policy, INCOMPARABLE if incomparable else ""), p_chance, seeds)
    reasons = [
        REPRODUCED[reproduced],
        *_edited_checks(base, head),
        *gating_reasons(base, head, policy),
        *_self_contradictions(head),
        *comparable,
        *repeat_reasons(base, head),
        *receipt_reasons(base, head),
        *definition_reasons(definitions),
        *([Reason(Outcome.PASS, remark)] if remark else []),
        *noise_reasons(base, head),
        *others,
    ]
    if isinstance(behaviour, UserError) and base.data == head.data:
        reasons.append(Reason(Outcome.UNKNOWN, ["the predictions cannot be compared: ", Message(behaviour)]))
    verdict = decide(base, head, rows, policy_error, reasons)
    sections = [verdict_section(verdict, _named(base), _named(head)), metrics_section(rows, remark)]
    if isinstance(behaviour, Behaviour):
        sections += [noise_section(behaviour, rows, seeds), behaviour_section(behaviour, base, head)]
    elif behaviour:
        titles = ("Is it more than noise?", "What changed in behaviour")
        sections += [unknown_section(title, behaviour) for title in titles]
    sections += [curves_section(base, head), definition_section(definitions), changes_section(base, head)]
    return Document(TITLE, [*sections, stale_section(base, head)]), verdict.outcome


def _behaviour(base: Revision, head: Revision) -> Behaviour | UserError | None:
    """What differs digit by digit, or the error that prevents the comparison; None if the base has no results."""
    try:
        return compare_behaviour(base, head) if base.has_results else None
    except UserError as error:
        return error


def _edited_checks(base: Revision, head: Revision) -> list[Reason]:
    """Edits of the files that run the checks: the head's own copy reports whether the results were reproduced."""
    edited = sorted(path for path in {**base.checks, **head.checks} if base.checks.get(path) != head.checks.get(path))
    words: Sentence = ["this change edits its own checks, which then prove little: ", *listed(edited, most=4)]
    return [Reason(Outcome.PASS, words)] if edited else []


def _self_contradictions(head: Revision) -> list[Reason]:
    try:
        return [Reason(Outcome.FAIL, sentence) for sentence in contradictions(head)]
    except UserError as error:
        return [Reason(Outcome.UNKNOWN, [Message(error)])]


def choose_policy(base: Revision, head: Revision) -> tuple[Policy, Sentence, str | None]:
    """The policy to judge by: the base's if it has one, so that a change cannot loosen its own rules.

    Returns:
        The policy, a remark if the change edits it, and what is wrong with the head's policy, or None.

    Raises:
        UserError: If neither revision has a usable policy.
    """
    head_policy, head_error = _policy(head)
    base_policy, base_error = _policy(base)
    policy = base_policy or head_policy
    if policy is None:
        raise UserError(base_error or head_error or f"{POLICY}: is missing in {base.name} and in {head.name}")
    if base_policy is None:
        return policy, [f"Judged by the head's {POLICY}: the base has no readable one."], head_error
    if head_policy is None and head_error is None:
        head_error = f"{POLICY}: is missing in {head.name}"
    if head_policy and (absent := _absent(head_policy, head)):
        head_error = f"{POLICY} of {head.name}: lets {', '.join(absent)} decide, which is missing"
    changed = head_policy != base_policy
    return policy, [f"This change edits {POLICY}; it is judged by the base's."] if changed else [], head_error


def could_not_tell(error: Exception) -> tuple[Document, Outcome]:
    """A report that only explains why there is no verdict."""
    verdict = Verdict(Outcome.UNKNOWN, [[Message(error)]])
    return Document(TITLE, [verdict_section(verdict, ["?"], ["?"])]), verdict.outcome


def _absent(policy: Policy, revision: Revision) -> list[str]:
    """Gating metrics that the revision lacks: in the next change, any value of them would pass."""
    return [
        name
        for file, rules in policy.metrics.items()
        for name, rule in rules.items()
        if rule.gates
        and name not in revision.metrics.get(file, {})
        and file not in {*revision.unreadable, *revision.elsewhere}
    ]


def _policy(revision: Revision) -> tuple[Policy | None, str | None]:
    if revision.policy is None:
        return None, None
    try:
        return parse_policy(revision.policy, f"{POLICY} of {revision.name}"), None
    except UserError as error:
        return None, str(error)


def _named(revision: Revision) -> Sentence:
    if revision.commit is None:
        return ["the working tree"]
    commit = Data(revision.commit[:7])  # as GitHub shows it
    # HEAD is a different commit for the reader of the report.
    hides_nothing = revision.name == "HEAD" or revision.commit.startswith(revision.name)
    return [commit] if hides_nothing else [Data(revision.name), " ", commit]
