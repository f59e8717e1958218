"""May this be merged? One of three answers, with its reasons."""

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from src.report.document import Data, Message, Sentence, listed
from src.report.metrics import Row, Standing
from src.report.revision import Revision
from src.revision.stale import Mismatch


class Outcome(enum.Enum):
    """The three answers; the value is the exit code."""

    PASS = 0
    FAIL = 1
    UNKNOWN = 2


@dataclass(frozen=True)
class Reason:
    """A finding of one check, apart from the metrics: FAIL and UNKNOWN prevent a pass, PASS is a remark."""

    outcome: Outcome
    text: Sentence


@dataclass(frozen=True)
class Verdict:
    """The answer and its reasons: failures, then what could not be decided, then remarks."""

    outcome: Outcome
    reasons: Sequence[Sentence]


def decide(
    base: Revision, head: Revision, rows: list[Row], policy_error: str | None, others: Sequence[Reason] = ()
) -> Verdict:
    """Judge a change.

    Args:
        base: What it is compared with.
        head: The change.
        rows: All metrics, judged by the policy.
        policy_error: What is wrong with the head's policy, or None.
        others: Findings of the other checks.
    """
    if not head.code:
        return Verdict(
            Outcome.UNKNOWN, [[Data(head.name), " has no dvc.lock, or no stage in it: there is no result to judge"]]
        )
    failures: list[Sentence] = [_metric(row) for row in rows if row.gates and row.standing is Standing.BROKEN]
    if head.stale:
        failures.append(_stale(head.stale))
    failures += [[Data(finding.subject), " ", finding.problem] for finding in head.edited]
    if policy_error:
        failures.append([Message(policy_error)])
    failures += _texts(others, Outcome.FAIL)
    unknown = [_metric(row) for row in rows if row.gates and row.standing is Standing.UNKNOWN]
    unknown += _texts(others, Outcome.UNKNOWN)
    remarks = _texts(others, Outcome.PASS)
    if failures:
        return Verdict(Outcome.FAIL, [*failures, *unknown, *remarks])
    if unknown:
        return Verdict(Outcome.UNKNOWN, [*unknown, *remarks])
    return Verdict(Outcome.PASS, [*_why_it_passes(base, rows), *remarks])


def _texts(reasons: Sequence[Reason], outcome: Outcome) -> list[Sentence]:
    return [reason.text for reason in reasons if reason.outcome is outcome]


def _why_it_passes(base: Revision, rows: list[Row]) -> list[Sentence]:
    gates = sum(row.gates for row in rows)
    fresh: Sentence = ["dvc.lock matches code, params and data, and every metric and plot matches dvc.lock"]
    if not base.has_results:
        return [["no baseline: ", Data(base.name), " has no results to compare with"], fresh]
    explained = [row for row in rows if row.gates and row.standing is Standing.EXPLAINED]
    return [[f"{gates - len(explained)} of {gates} metrics that gate hold"], *map(_metric, explained), fresh]


def _stale(findings: list[Mismatch]) -> Sentence:
    stages = list(dict.fromkeys(finding.stage for finding in findings if not finding.follows))
    after = list(dict.fromkeys(finding.stage for finding in findings if finding.follows))
    perhaps = [", then perhaps ", *listed(after)] if after else []
    return ["dvc.lock is stale: `dvc repro` would run ", *listed(stages), *perhaps]


def _metric(row: Row) -> Sentence:
    return [Data(row.label), f": {row.why}"]
